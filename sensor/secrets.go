package sensor

import (
	"path"
	"strings"
)

// Secret is a file that gives rights to whoever reads it. One list serves all who look at
// such files and the rules about them; a test (cmd/bollwerk-agent) holds them in step.
type Secret struct {
	// Path is absolute, or begins with "~/" for the home of every account. A "*" stands for
	// one element that is not its last.
	Path string
	// Anywhere: the name alone says what it is, in whatever folder it lies.
	Anywhere bool
}

// Name of the file, and the folder in which it must lie to be meant: "" for any.
func (s Secret) Name() (name, folder string) {
	folder, name = path.Split(s.Path)
	if folder = path.Base(folder); s.Anywhere || folder == "~" || strings.Contains(folder, "*") {
		folder = ""
	}
	return name, folder
}

// Paths are the places in which it stands: of one in a home those of root and of all below /home.
func (s Secret) Paths() []string {
	if rest, ok := strings.CutPrefix(s.Path, "~"); ok {
		return []string{"/root" + rest, "/home/*" + rest}
	}
	return []string{s.Path}
}

// Secrets is the list.
func Secrets() []Secret {
	var out []Secret
	add := func(anywhere bool, paths string) {
		for _, p := range strings.Fields(paths) {
			out = append(out, Secret{Path: p, Anywhere: anywhere})
		}
	}
	// Passwords and keys of the machine.
	add(false, `/etc/shadow /etc/shadow- /etc/gshadow /etc/gshadow- /etc/master.passwd /etc/security/opasswd /etc/sudoers`)
	add(true, `~/.ssh/id_rsa ~/.ssh/id_dsa ~/.ssh/id_ecdsa ~/.ssh/id_ed25519 ~/.ssh/id_ecdsa_sk ~/.ssh/id_ed25519_sk
		/etc/ssh/ssh_host_rsa_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_ed25519_key`)
	// Kubernetes.
	add(false, `~/.kube/config /etc/kubernetes/admin.conf /etc/kubernetes/super-admin.conf /etc/kubernetes/kubelet.conf
		/etc/kubernetes/controller-manager.conf /etc/kubernetes/scheduler.conf /var/lib/kubelet/kubeconfig
		/var/lib/rancher/k3s/server/cred/admin.kubeconfig /var/lib/rancher/rke2/server/cred/admin.kubeconfig`)
	add(true, `/etc/rancher/k3s/k3s.yaml /etc/rancher/rke2/rke2.yaml /var/lib/kubelet/pki/kubelet-client-current.pem`)
	// Clouds: Amazon, Microsoft, Google, OpenStack and Open Telekom Cloud with its object storage, Oracle,
	// Alibaba, Huawei, DigitalOcean, Hetzner, and tools for object storage of any.
	add(false, `~/.aws/credentials ~/.azure/accessTokens.json ~/.azure/azureProfile.json ~/.azure/msal_token_cache.json
		~/.config/gcloud/credentials.db ~/.config/gcloud/access_tokens.db
		~/.config/openstack/clouds.yaml ~/.config/openstack/secure.yaml /etc/openstack/clouds.yaml /etc/openstack/secure.yaml
		~/.oci/config ~/.aliyun/config.json ~/.hcloud/config.json ~/.config/doctl/config.yaml ~/.config/hcloud/cli.toml ~/.mc/config.json
		~/.obsconfig ~/.obsutilconfig ~/.ossutilconfig ~/.s3cfg ~/.boto ~/.passwd-s3fs`)
	add(true, `~/.config/gcloud/application_default_credentials.json ~/.config/rclone/rclone.conf`)
	// Registries, repositories, databases and other stores.
	add(false, `~/.docker/config.json ~/.dockercfg ~/.config/containers/auth.json /run/containers/*/auth.json /run/user/*/containers/auth.json
		~/.config/gh/hosts.yml ~/.config/glab-cli/config.yml ~/.terraform.d/credentials.tfrc.json ~/.cargo/credentials.toml ~/.gem/credentials
		~/.m2/settings.xml ~/.netrc ~/.git-credentials ~/.pgpass ~/.my.cnf ~/.vault-token ~/.npmrc ~/.pypirc`)
	return out
}

// Histories are the names of files in which shells and clients of databases keep what was typed.
func Histories() []string {
	return strings.Fields(`.bash_history .zsh_history .sh_history .ash_history .ksh_history .history .mysql_history .psql_history .python_history
		.rediscli_history fish_history`)
}
