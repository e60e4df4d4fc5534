package oci

import (
	"os"
	"time"

	"github.com/bollwerk/bollwerk/artifact"
	"github.com/google/go-containerregistry/pkg/authn"
)

// Options say how images are reached. The zero value is usable.
type Options struct {
	// Platform is os/arch[/variant]; "": linux on this machine's architecture, and an
	// image that is not an index is taken whatever it is for.
	Platform string
	// Insecure allows plain HTTP and certificates nobody vouches for.
	Insecure bool
	// CAFile holds further certificate authorities (PEM) to trust for registries.
	CAFile string
	// Mirrors maps a registry host to the mirror to ask first: "docker.io" to
	// "mirror.example:5000" or "mirror.example/prefix".
	Mirrors map[string]string
	// Keychain finds credentials; nil: the Docker configuration and its helpers.
	Keychain authn.Keychain
	// IdleTimeout ends a connection on which nothing arrives. Default 60 s.
	IdleTimeout time.Duration
	// Getenv finds daemons (DOCKER_HOST, CONTAINER_HOST, CONTAINERD_ADDRESS); nil: os.Getenv.
	Getenv func(string) string
	Limits artifact.Limits
}

func (o Options) withDefaults() Options {
	if o.Keychain == nil {
		o.Keychain = authn.DefaultKeychain
	}
	if o.IdleTimeout <= 0 {
		o.IdleTimeout = time.Minute
	}
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	o.Limits = o.Limits.WithDefaults()
	return o
}
