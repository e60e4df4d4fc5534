package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/artifact"
	"github.com/bollwerk/bollwerk/artifact/base"
)

// newBaseCommand is `bollwerk base`: the base images that scans recognise.
func newBaseCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "base",
		Short: "register base images, so that scans tell what comes from them",
		Long: `A registered base image is recognised in every image that begins with its
layers. Findings then say whether an upgrade of the base removes them.

The list is kept in bases.json in the cache folder.`,
		Args: onlyVerbs,
		RunE: showHelp,
	}
	c.AddCommand(newBaseAddCommand(e), newBaseListCommand(e), newBaseRemoveCommand(e))
	return c
}

type baseAddFlags struct {
	open openFlags
	name string
}

func newBaseAddCommand(e *env) *cobra.Command {
	var f baseAddFlags
	c := &cobra.Command{
		Use:   "add IMAGE",
		Short: "register an image as a base image",
		Long: `Registers the layers of an image: from a registry, or as oci:DIR,
docker-archive:FILE and the other prefixes of ` + "`bollwerk scan`" + `. Only its manifest and
configuration are read.

Exit codes: 0 registered (or known already), 2 usage, 3 the image cannot be opened.`,
		Example: `  bollwerk base add debian:12-slim
  bollwerk base add --name hardened/python:3.13 oci:./python-base`,
		Args: exactArgument("IMAGE"),
		RunE: func(c *cobra.Command, args []string) error { return runBaseAdd(c.Context(), e, &f, args[0]) },
	}
	f.open.register(c.Flags())
	c.Flags().StringVar(&f.name, "name", "", "`NAME` to call the image by (default: its own)")
	return c
}

// exactArgument makes a wrong number of arguments a usage error.
func exactArgument(word string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError(fmt.Errorf("%s: want one %s, got %d arguments; see `%s --help`", c.CommandPath(), word, len(args), c.CommandPath()))
		}
		return nil
	}
}

func runBaseAdd(ctx context.Context, e *env, f *baseAddFlags, target string) error {
	store, err := openBases(e)
	if err != nil {
		return err
	}
	scheme, rest, err := artifact.Detect(target)
	if errors.Is(err, artifact.ErrTarget) {
		return usageError(err)
	}
	if err != nil {
		return err
	}
	src, err := openTarget(ctx, e, &f.open, scheme, rest)
	if err != nil {
		return err
	}
	defer src.Close()
	about := src.Artifact()
	if about.Kind != bollwerk.KindImage {
		return usageError(fmt.Errorf("%s is a %s; only an image can be a base image", target, about.Kind))
	}
	entry := base.Entry{BaseImage: bollwerk.BaseImage{Name: about.Name, Digest: about.Digest}, Platform: about.Platform, Added: time.Now().UTC().Truncate(time.Second)}
	if f.name != "" {
		entry.Name = f.name
	}
	for _, l := range about.Layers {
		entry.Layers = append(entry.Layers, l.DiffID)
	}
	added, err := store.Add(entry)
	if err != nil {
		return err
	}
	word := "registered"
	if !added {
		word = "known already:"
	}
	fmt.Fprintf(e.stdout, "%s %s (%s, %d layers)\n", word, entry.Name, entry.Platform, len(entry.Layers))
	return nil
}

func newBaseListCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "list the registered base images",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(fmt.Errorf("bollwerk base list takes no arguments, got %q", args[0]))
			}
			return nil
		},
		RunE: func(*cobra.Command, []string) error { return runBaseList(e) },
	}
}

func runBaseList(e *env) error {
	store, err := openBases(e)
	if err != nil {
		return err
	}
	list := store.List()
	if len(list) == 0 {
		e.say("no base image is registered; register one with `bollwerk base add IMAGE`")
		return nil
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tPLATFORM\tLAYERS\tDIGEST\tADDED")
	for _, b := range list {
		digest := "-"
		if b.Digest != "" {
			digest = b.Digest.Short()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", b.Name, b.Platform, len(b.Layers), digest, b.Added.Format(time.DateOnly))
	}
	return w.Flush()
}

func newBaseRemoveCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME|DIGEST",
		Short: "forget a base image",
		Args:  exactArgument("NAME or DIGEST"),
		RunE:  func(_ *cobra.Command, args []string) error { return runBaseRemove(e, args[0]) },
	}
}

func runBaseRemove(e *env, name string) error {
	store, err := openBases(e)
	if err != nil {
		return err
	}
	n, err := store.Remove(name)
	if err != nil {
		return err
	}
	if n == 0 {
		return usageError(fmt.Errorf("no base image is registered as %q; see `bollwerk base list`", name))
	}
	fmt.Fprintf(e.stdout, "removed %s\n", name)
	return nil
}

// openBases is baseStore for the verb that cannot do without it.
func openBases(e *env) (*base.Store, error) {
	if _, err := e.cacheDir(); err != nil {
		return nil, err
	}
	return baseStore(e)
}
