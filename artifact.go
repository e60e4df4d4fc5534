package bollwerk

import (
	"io/fs"
	"time"
)

// ArtifactKind says what an artifact is.
type ArtifactKind string

const (
	KindImage     ArtifactKind = "image"
	KindDirectory ArtifactKind = "directory"
	KindHost      ArtifactKind = "host"
	KindArchive   ArtifactKind = "archive" // a single file: jar, wheel, binary, zip, lock file
	KindSBOM      ArtifactKind = "sbom"
)

// Artifact is what was scanned. For anything but an image Layers is empty.
type Artifact struct {
	// Ref is the target as given by the user, prefix included.
	Ref string `json:"ref"`
	// Name is a short name for people: repository:tag, directory, file name.
	Name string       `json:"name"`
	Kind ArtifactKind `json:"kind"`
	// Digest is the manifest digest of an image, the hash of a single file, else empty.
	Digest Digest `json:"digest,omitempty"`
	// ConfigDigest is the image ID as container runtimes show it.
	ConfigDigest Digest       `json:"config_digest,omitempty"`
	Platform     string       `json:"platform,omitempty"` // "linux/amd64", "linux/arm64/v8"
	Created      *time.Time   `json:"created,omitempty"`
	Layers       []Layer      `json:"layers,omitempty"`
	Config       *ImageConfig `json:"config,omitempty"`
	// BaseImage is the recognised base image, if any is.
	BaseImage *BaseImage `json:"base_image,omitempty"`
	// OS is the distribution found inside, if any.
	OS *Distribution `json:"os,omitempty"`
}

// Layer is one layer of an image, bottom first.
type Layer struct {
	Index int `json:"index"` // 0 is the bottom
	// Digest is that of the compressed blob, DiffID that of the tar stream.
	Digest    Digest `json:"digest,omitempty"`
	DiffID    Digest `json:"diff_id"`
	MediaType string `json:"media_type,omitempty"`
	Size      int64  `json:"size,omitempty"` // bytes as stored
	// CreatedBy is the line of the image history that made the layer.
	CreatedBy string `json:"created_by,omitempty"`
	// FromBase: the layer belongs to the recognised base image.
	FromBase bool `json:"from_base,omitempty"`
}

// LayerRef points from a package or finding to the layer that brought it.
type LayerRef struct {
	Index     int    `json:"index"`
	Digest    Digest `json:"digest,omitempty"`
	DiffID    Digest `json:"diff_id"`
	CreatedBy string `json:"created_by,omitempty"`
	FromBase  bool   `json:"from_base,omitempty"`
}

// ImageConfig is the part of an OCI image configuration that policies judge.
type ImageConfig struct {
	User         string            `json:"user,omitempty"`
	Env          []string          `json:"env,omitempty"`
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	ExposedPorts []string          `json:"exposed_ports,omitempty"`
	Volumes      []string          `json:"volumes,omitempty"`
	WorkingDir   string            `json:"working_dir,omitempty"`
	StopSignal   string            `json:"stop_signal,omitempty"`
	Healthcheck  []string          `json:"healthcheck,omitempty"` // nil: none is set; ["NONE"]: switched off
	History      []HistoryLine     `json:"history,omitempty"`
}

// HistoryLine is one line of the image history.
type HistoryLine struct {
	CreatedBy  string     `json:"created_by,omitempty"`
	Comment    string     `json:"comment,omitempty"`
	Created    *time.Time `json:"created,omitempty"`
	EmptyLayer bool       `json:"empty_layer,omitempty"`
}

// BaseImage is a registered image whose layers are the lowest layers of another.
type BaseImage struct {
	Name   string   `json:"name"` // as registered: "debian:12-slim"
	Digest Digest   `json:"digest,omitempty"`
	Layers []Digest `json:"layers"` // diff IDs, bottom first
}

// Distribution is what /etc/os-release says.
type Distribution struct {
	ID         string   `json:"id"` // "debian", "alpine", "almalinux"
	IDLike     []string `json:"id_like,omitempty"`
	VersionID  string   `json:"version_id,omitempty"` // "12", "3.19.1"
	Codename   string   `json:"codename,omitempty"`
	PrettyName string   `json:"pretty_name,omitempty"`
	Variant    string   `json:"variant,omitempty"`
}

// File is what an archive entry or a directory entry says of a file before its
// content is read.
type File struct {
	// Path is relative to the root of the artifact, cleaned, with forward slashes
	// and no leading slash: "usr/bin/env".
	Path string
	Size int64
	// Mode holds type and permission bits, set-uid and set-gid included.
	Mode     fs.FileMode
	UID, GID int
	// Linkname is the target of a symbolic or hard link.
	Linkname string
	// Capability is the extended attribute security.capability as it stands in an image
	// layer: struct vfs_cap_data of linux/capability.h. "" for files of a directory,
	// where nobody asks for it.
	Capability string
	ModTime    time.Time
}
