package tracing

import (
	"path"
	"slices"
	"strings"

	"github.com/bollwerk/bollwerk/sensor"
)

// Watch is one path that Files looks at, on the host and in every container.
type Watch struct {
	// Path is absolute. A "*" stands for one whole element or the end of one
	// ("/home/*/.ssh", "/root/.ssh/id_*").
	Path string
	// Read tells that the file was opened at all, which for secrets is the news.
	// Without it Path is a directory whose entries are watched for changes.
	Read bool
	// Executable tells of entries only when they can be executed: for directories
	// where everybody makes files all the time.
	Executable bool
	// Tree means all folders below Path, too, as far as they are not too many. Told are
	// files that are removed or renamed, links, new folders, files that get a second ending,
	// and SSH keys; not what is written. Path has no "*".
	Tree bool
	// Name means that Path is a file, and of its folder only what happens to such files is
	// told: made, written, changed, renamed, removed.
	Name bool
	// Where: "" everywhere, else only "host" or only "container".
	Where string
}

// Watches is the default list: secrets that are read, places where a change means that
// somebody settles in, and files with which a container reaches the host's kernel.
func Watches() []Watch {
	var out []Watch
	for _, p := range strings.Fields(`/etc /etc/cron.d /etc/cron.hourly /etc/cron.daily /etc/cron.weekly /etc/cron.monthly /var/spool/cron /var/spool/cron/crontabs
		/etc/systemd/system /etc/systemd/system/*.wants /usr/lib/systemd/system /run/systemd/system /root/.config/systemd/user /home/*/.config/systemd/user
		/etc/init.d /etc/profile.d /etc/sudoers.d /etc/pam.d /etc/ssh /etc/ld.so.conf.d /etc/udev/rules.d /etc/modules-load.d /etc/apt/apt.conf.d
		/root /root/.ssh /home/* /home/*/.ssh /root/.config/autostart /etc/kubernetes /etc/kubernetes/manifests /etc/containerd /etc/docker
		/var/log /var/log/audit /var/log/journal /usr/bin /usr/sbin /usr/local/bin /usr/local/sbin /bin /sbin /lib/security /usr/lib/security
		/usr/lib/x86_64-linux-gnu/security /usr/lib/aarch64-linux-gnu/security /opt /srv /var/www/html
		/etc/security /etc/ssh/authorized_keys.d /etc/ssh/sshd_config.d /etc/zsh /etc/systemd/user /usr/local/lib/systemd /lib/systemd/system
		/var/spool/at /var/spool/atjobs /etc/rc.d /etc/crontabs`) {
		out = append(out, Watch{Path: p})
	}
	for _, p := range strings.Fields(`/host/etc /host/etc/cron.d /host/etc/sudoers.d /host/etc/systemd/system /host/var/spool/cron`) {
		out = append(out, Watch{Path: p, Where: "container"}) // where containers have the host's files
	}
	for _, p := range strings.Fields(`/tmp /var/tmp /dev/shm /run /run/lock /var/run /home /data /app`) {
		out = append(out, Watch{Path: p, Executable: true})
	}
	for _, p := range strings.Fields(`/home /root /srv /data /app /backup /backups /workspace /mnt /media /opt /var/www /var/lib /var/opt /var/backups`) {
		out = append(out, Watch{Path: p, Tree: true, Where: "container"})
	}
	// What has names of its owner's choice, or that of others where a container has their files.
	for _, p := range strings.Fields(`/etc/ssh/ssh_host_* /root/.ssh/id_* /home/*/.ssh/id_*
		/root/.config/gcloud/* /home/*/.config/gcloud/* /root/.azure/* /home/*/.azure/* /root/.bash_history /home/*/.bash_history
		/host/etc/shadow /rootfs/etc/shadow /hostfs/etc/shadow /host/etc/ssh/ssh_host_*_key /etc/kubernetes/*.conf /etc/kubernetes/pki/* /var/lib/kubelet/pki/*
		/proc/sysrq-trigger /sys/kernel/uevent_helper /sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent
		/var/run/secrets/kubernetes.io/serviceaccount/token /run/secrets/kubernetes.io/serviceaccount/token /run/secrets/*
		/var/run/secrets/eks.amazonaws.com/serviceaccount/token /var/run/secrets/azure/tokens/*`) {
		out = append(out, Watch{Path: p, Read: true})
	}
	for _, secret := range sensor.Secrets() {
		for _, p := range secret.Paths() {
			if w := (Watch{Path: p, Read: true}); !Covers(out, w) {
				out = append(out, w)
			}
		}
	}
	for _, p := range podTokens {
		out = append(out, Watch{Path: p, Read: true, Where: "host"})
	}
	return out
}

// skipped are folders whose contents tools make and remove all the time: no data is lost
// with them, and their many folders would use up what a container may have marked.
func skipped(name string) bool {
	switch name {
	case "node_modules", ".git", "__pycache__", ".cache", "cache", ".npm", ".yarn", ".cargo", ".rustup", ".m2", ".gradle", "venv", ".venv",
		"site-packages", "dist-packages", "go-build", "apt", "dpkg", "docker", "containerd", "containers", "kubelet", "systemd":
		return true
	}
	return false
}

// privateKey reports whether a path is that of a private SSH key by its name: anything
// "id_…" in the folder of a user, and elsewhere the names that ssh-keygen gives.
func privateKey(name string) bool {
	base := path.Base(name)
	if !strings.HasPrefix(base, "id_") || strings.HasSuffix(base, ".pub") {
		return false
	}
	switch base {
	case "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk":
		return true
	}
	return strings.HasSuffix(path.Dir(name), "/.ssh")
}

// homesMost is how many homes of other places than /root and /home are watched in a root.
const homesMost = 16

// homesOf are the homes in a list of accounts (passwd(5)) that nobody watches yet: of those
// who may log in, in other places than /root and /home.
func homesOf(passwd string) []string {
	var out []string
	for line := range strings.Lines(passwd) {
		field := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(field) != 7 || len(out) == homesMost {
			continue
		}
		home, shell := path.Clean(field[5]), path.Base(field[6])
		switch shell {
		case "nologin", "false", "sync", "shutdown", "halt":
			continue
		}
		top, rest, _ := strings.Cut(strings.TrimPrefix(home, "/"), "/")
		switch top {
		case "", "root", "nonexistent", "dev", "proc", "sys", "run", "bin", "sbin", "usr", "tmp":
			continue
		case "home":
			if !strings.Contains(rest, "/") {
				continue
			}
		}
		if path.IsAbs(field[5]) && !strings.Contains(home, "*") && !slices.Contains(out, home) {
			out = append(out, home)
		}
	}
	return out
}

// twoEndings reports whether a name has an ending behind an ending, as the copies have
// that extortionists leave.
func twoEndings(name string) bool {
	i := strings.LastIndexByte(name, '.')
	return i > 0 && strings.IndexByte(name[1:i], '.') >= 0
}

// matchElement compares one element of a path with a pattern that may hold one "*".
func matchElement(pattern, s string) bool {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		return pattern == s
	}
	return len(s) >= len(before)+len(after) && strings.HasPrefix(s, before) && strings.HasSuffix(s, after) &&
		(before != "" || !strings.HasPrefix(s, ".")) // "*" alone does not mean hidden files
}

// matchPath compares a whole path.
func matchPath(pattern, path string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		s, srest, smore := strings.Cut(path, "/")
		if pmore != smore || !matchElement(p, s) {
			return false
		}
		if !pmore {
			return true
		}
		pattern, path = prest, srest
	}
}

// leads reports whether path is one of the folders on the way to what pattern names.
func leads(pattern, path string) bool {
	for {
		p, prest, pmore := strings.Cut(pattern, "/")
		s, srest, smore := strings.Cut(path, "/")
		if !matchElement(p, s) || !pmore {
			return false
		}
		if !smore {
			return true
		}
		pattern, path = prest, srest
	}
}
