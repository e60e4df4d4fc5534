// Package facts owns what a file's name and mode alone say and policies judge:
// set-uid and set-gid, world-writable, and programs that a production image should
// not carry (shells, package managers, tools for debugging and for the network).
package facts

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/sbom"
)

// Extractor finds facts without reading content.
type Extractor struct{}

func (Extractor) Name() string                  { return "facts/files" }
func (Extractor) Ecosystem() bollwerk.Ecosystem { return "" }
func (Extractor) Hints() sbom.Hints             { return sbom.Hints{} }

// Wants is never true: no content is needed.
func (Extractor) Wants(f *bollwerk.File) bool { return false }

// Extract finds nothing.
func (Extractor) Extract(ctx context.Context, in *sbom.Input) (bollwerk.Inventory, error) {
	return bollwerk.Inventory{}, nil
}

// Facts implements sbom.FactFinder.
func (Extractor) Facts(f *bollwerk.File, to []bollwerk.FileFact) []bollwerk.FileFact {
	m := f.Mode
	if m.IsRegular() && m&(fs.ModeSetuid|fs.ModeSetgid) != 0 && m&0o111 != 0 {
		if m&fs.ModeSetuid != 0 {
			to = append(to, bollwerk.FileFact{Kind: bollwerk.FactSetUID, Path: f.Path, Detail: octal(m)})
		}
		if m&fs.ModeSetgid != 0 {
			to = append(to, bollwerk.FileFact{Kind: bollwerk.FactSetGID, Path: f.Path, Detail: octal(m)})
		}
	}
	if m.IsRegular() && f.Capability != "" {
		to = append(to, bollwerk.FileFact{Kind: bollwerk.FactCapability, Path: f.Path, Detail: capabilities(f.Capability)})
	}
	// A sticky directory (tmp) may be written by all; that is its purpose.
	if m&0o002 != 0 && (m.IsRegular() || m.IsDir() && m&fs.ModeSticky == 0) {
		to = append(to, bollwerk.FileFact{Kind: bollwerk.FactWorldWritable, Path: f.Path, Detail: octal(m)})
	}
	if !m.IsRegular() && m&fs.ModeSymlink == 0 {
		return to
	}
	base, ok := program(f.Path)
	if !ok || m.IsRegular() && m&0o111 == 0 {
		return to
	}
	if kind, known := tools[base]; known {
		to = append(to, bollwerk.FileFact{Kind: kind, Path: f.Path, Detail: base})
	}
	return to
}

// program returns the base name of a file in a folder for programs.
func program(p string) (string, bool) {
	i := strings.LastIndexByte(p, '/')
	if i < 0 {
		return "", false
	}
	d := p[:i]
	if j := strings.LastIndexByte(d, '/'); j >= 0 {
		d = d[j+1:]
	}
	return p[i+1:], d == "bin" || d == "sbin" || d == "busybox"
}

// octal writes the mode as chmod takes it: "4755".
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	if m&fs.ModeSetuid != 0 {
		n |= 0o4000
	}
	if m&fs.ModeSetgid != 0 {
		n |= 0o2000
	}
	if m&fs.ModeSticky != 0 {
		n |= 0o1000
	}
	return fmt.Sprintf("%04o", n)
}

var tools = map[string]bollwerk.FactKind{
	"sh": bollwerk.FactShell, "bash": bollwerk.FactShell, "dash": bollwerk.FactShell, "ash": bollwerk.FactShell,
	"zsh": bollwerk.FactShell, "ksh": bollwerk.FactShell, "mksh": bollwerk.FactShell, "fish": bollwerk.FactShell,
	"csh": bollwerk.FactShell, "tcsh": bollwerk.FactShell, "rbash": bollwerk.FactShell, "busybox": bollwerk.FactShell,
	"toybox": bollwerk.FactShell, "pwsh": bollwerk.FactShell,

	"apt": bollwerk.FactPackageManager, "apt-get": bollwerk.FactPackageManager, "aptitude": bollwerk.FactPackageManager,
	"dpkg": bollwerk.FactPackageManager, "apk": bollwerk.FactPackageManager, "rpm": bollwerk.FactPackageManager,
	"yum": bollwerk.FactPackageManager, "dnf": bollwerk.FactPackageManager, "dnf5": bollwerk.FactPackageManager,
	"microdnf": bollwerk.FactPackageManager, "tdnf": bollwerk.FactPackageManager, "zypper": bollwerk.FactPackageManager,
	"pacman": bollwerk.FactPackageManager, "opkg": bollwerk.FactPackageManager, "snap": bollwerk.FactPackageManager,
	"pip": bollwerk.FactPackageManager, "pip3": bollwerk.FactPackageManager, "pipx": bollwerk.FactPackageManager,
	"uv": bollwerk.FactPackageManager, "poetry": bollwerk.FactPackageManager, "conda": bollwerk.FactPackageManager,
	"npm": bollwerk.FactPackageManager, "npx": bollwerk.FactPackageManager, "yarn": bollwerk.FactPackageManager,
	"pnpm": bollwerk.FactPackageManager, "gem": bollwerk.FactPackageManager, "bundle": bollwerk.FactPackageManager,
	"composer": bollwerk.FactPackageManager, "cargo": bollwerk.FactPackageManager,

	"curl": bollwerk.FactDebugTool, "wget": bollwerk.FactDebugTool, "nc": bollwerk.FactDebugTool,
	"nc.openbsd": bollwerk.FactDebugTool, "nc.traditional": bollwerk.FactDebugTool, "ncat": bollwerk.FactDebugTool,
	"netcat": bollwerk.FactDebugTool, "socat": bollwerk.FactDebugTool, "nmap": bollwerk.FactDebugTool,
	"masscan": bollwerk.FactDebugTool, "telnet": bollwerk.FactDebugTool, "ftp": bollwerk.FactDebugTool,
	"tftp": bollwerk.FactDebugTool, "ssh": bollwerk.FactDebugTool, "scp": bollwerk.FactDebugTool,
	"sshd": bollwerk.FactDebugTool, "rsync": bollwerk.FactDebugTool, "gdb": bollwerk.FactDebugTool,
	"gdbserver": bollwerk.FactDebugTool, "lldb": bollwerk.FactDebugTool, "strace": bollwerk.FactDebugTool,
	"ltrace": bollwerk.FactDebugTool, "perf": bollwerk.FactDebugTool, "bpftrace": bollwerk.FactDebugTool,
	"tcpdump": bollwerk.FactDebugTool, "tshark": bollwerk.FactDebugTool, "ngrep": bollwerk.FactDebugTool,
	"dig": bollwerk.FactDebugTool, "nslookup": bollwerk.FactDebugTool, "host": bollwerk.FactDebugTool,
	"traceroute": bollwerk.FactDebugTool, "mtr": bollwerk.FactDebugTool, "iperf": bollwerk.FactDebugTool,
	"iperf3": bollwerk.FactDebugTool, "lsof": bollwerk.FactDebugTool, "nsenter": bollwerk.FactDebugTool,
	"kubectl": bollwerk.FactDebugTool, "docker": bollwerk.FactDebugTool, "crictl": bollwerk.FactDebugTool,
	"ctr": bollwerk.FactDebugTool, "dlv": bollwerk.FactDebugTool, "hydra": bollwerk.FactDebugTool,
}
