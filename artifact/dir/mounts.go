package dir

import (
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// pseudo marks what is left out without a word: it holds no files.
const pseudo = "pseudo file system"

// pseudoMagic are file systems made of kernel state. Numbers: linux/magic.h and the
// statfs(2) manual page.
var pseudoMagic = map[int64]string{
	unix.PROC_SUPER_MAGIC:     "proc",
	unix.SYSFS_MAGIC:          "sysfs",
	unix.CGROUP_SUPER_MAGIC:   "cgroup",
	unix.CGROUP2_SUPER_MAGIC:  "cgroup2",
	unix.DEVPTS_SUPER_MAGIC:   "devpts",
	unix.DEBUGFS_MAGIC:        "debugfs",
	unix.TRACEFS_MAGIC:        "tracefs",
	unix.SECURITYFS_MAGIC:     "securityfs",
	unix.SELINUX_MAGIC:        "selinuxfs",
	unix.SMACK_MAGIC:          "smackfs",
	unix.PSTOREFS_MAGIC:       "pstore",
	unix.EFIVARFS_MAGIC:       "efivarfs",
	unix.BPF_FS_MAGIC:         "bpf",
	unix.HUGETLBFS_MAGIC:      "hugetlbfs",
	unix.BINFMTFS_MAGIC:       "binfmt_misc",
	unix.NSFS_MAGIC:           "nsfs",
	unix.RDTGROUP_SUPER_MAGIC: "resctrl",
	0x19800202:                "mqueue",
	0x62656570:                "configfs",
	0x67596969:                "rpc_pipefs",
	0x6e667364:                "nfsd",
	0x65735543:                "fusectl",
	0x0187:                    "autofs",
}

// networkMagic are file systems whose files live elsewhere: reading them scans
// another machine's disk, over the network, perhaps on every host that mounts it.
var networkMagic = map[int64]string{
	unix.NFS_SUPER_MAGIC:  "nfs",
	unix.SMB_SUPER_MAGIC:  "smb",
	unix.SMB2_SUPER_MAGIC: "smb",
	unix.CIFS_SUPER_MAGIC: "cifs",
	unix.AFS_SUPER_MAGIC:  "afs",
	unix.AFS_FS_MAGIC:     "afs",
	unix.CODA_SUPER_MAGIC: "coda",
	unix.CEPH_SUPER_MAGIC: "ceph",
	unix.FUSE_SUPER_MAGIC: "fuse",
	unix.V9FS_MAGIC:       "9p",
	0x0bd00bd0:            "lustre",
	0x01161970:            "gfs2",
	0x47504653:            "gpfs",
	0x19830326:            "fhgfs",
}

// leaveMount says why the file system mounted at a path is not read, "" when it is.
func (w *walk) leaveMount(fd int, p string) string {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return cause(err)
	}
	magic := int64(uint32(fs.Type)) // the field is signed on some architectures
	if _, ok := pseudoMagic[magic]; ok {
		return pseudo
	}
	if kind, ok := networkMagic[magic]; ok && !w.s.o.Network {
		return fmt.Sprintf("network file system (%s), not read; give --network-mounts to read it", kind)
	}
	return ""
}

// storage lists where container engines keep images and containers. Below a root
// file system these are other workloads: they are scanned as images, and reading them
// as files would report packages that this host does not have.
var storage = []string{
	"var/lib/docker", "var/lib/containerd", "var/lib/containers/storage", "var/lib/rancher/k3s/agent/containerd",
	"var/lib/rancher/rke2/agent/containerd", "var/lib/k0s/containerd", "var/snap/docker/common/var-lib-docker",
	"var/lib/kubelet/pods", "var/lib/lxc", "var/lib/lxd", "var/lib/incus", "var/lib/machines",
	"*/.local/share/containers/storage", "*/.local/share/docker",
}

// leaveDirectory says why a directory is not entered, "" when it is.
func (w *walk) leaveDirectory(p string) string {
	if w.s.host {
		switch p {
		case "proc", "sys", "dev":
			// By name as well: inside a container they may be plain directories or
			// bind mounts of what the host shows.
			return pseudo
		}
	}
	for _, s := range storage {
		if p == s || s[0] == '*' && len(p) > len(s)-1 && p[len(p)-len(s)+1:] == s[1:] && path.Dir(p) != "." {
			return "storage of a container engine, not read as files; scan its images by containerd:, docker: or podman:"
		}
	}
	return ""
}
