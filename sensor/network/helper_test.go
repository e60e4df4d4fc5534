package network

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/prerequisite"
	"github.com/bollwerk/bollwerk/sensor"
)

// The tests' clients and servers are processes of their own: the sensor leaves its own
// process alone. A helper is this test binary, told by lines on its stdin what to do.
const helperEnv = "BOLLWERK_NETWORK_HELPER"

func TestMain(m *testing.M) {
	if os.Getenv(helperEnv) != "" {
		helperMain()
		return
	}
	code := m.Run()
	if shared != nil {
		shared.stop()
		shared.sensor.Close()
	}
	os.Exit(code)
}

// shared is the sensor of most tests: opening one takes seconds in an emulated machine.
var shared *watch

func errno(err error) string {
	var no syscall.Errno
	var timeout interface{ Timeout() bool }
	switch {
	case errors.As(err, &no):
		return unix.ErrnoName(no)
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	return err.Error()
}

func helperMain() {
	conns := map[string]net.Conn{}
	sources := make(chan net.Conn, 1)
	packets := map[string]net.PacketConn{}
	fds := map[string]int{}
	var crowd []int
	ready := map[string]func() error{}
	sc := bufio.NewScanner(os.Stdin)
	next := 0
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		id := "c" + strconv.Itoa(next)
		next++
		reply, err := func() (string, error) {
			switch f[0] {
			case "cgroup": // folder
				return "", os.WriteFile(filepath.Join(f[1], "cgroup.procs"), []byte("0"), 0)
			case "lo":
				return "", loopbackUp()
			case "address", "route": // prefix, on lo
				out, err := exec.Command("ip", f[0], "add", f[1], "dev", "lo").CombinedOutput()
				if err != nil {
					return "", fmt.Errorf("%s", out)
				}
				return "", nil
			case "listen": // network address; sends back what it reads
				l, err := net.Listen(f[1], f[2])
				if err != nil {
					return "", err
				}
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						go func() {
							_, _ = io.Copy(c, c)
							c.Close()
						}()
					}
				}()
				return l.Addr().String(), nil
			case "listen-bare": // without bind
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					return "", err
				}
				return "", unix.Listen(fd, 5)
			case "listen-closed": // port
				l, err := net.Listen("tcp4", "127.0.0.1:"+f[1])
				if err != nil {
					return "", err
				}
				return "", l.Close()
			case "listen-taken": // port; a second socket was bound there, too, before the first one listened
				var fds [2]int
				port, err := strconv.Atoi(f[1])
				if err != nil {
					return "", err
				}
				for i := range fds {
					if fds[i], err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0); err != nil {
						return "", err
					}
					if err = errors.Join(unix.SetsockoptInt(fds[i], unix.SOL_SOCKET, unix.SO_REUSEADDR, 1), unix.Bind(fds[i], &unix.SockaddrInet4{Port: port})); err != nil {
						return "", err
					}
				}
				if err := unix.Listen(fds[0], 5); err != nil {
					return "", err
				}
				err = unix.Listen(fds[1], 5)
				return "", err
			case "udp-listen": // address; sends back what it reads
				c, err := net.ListenPacket("udp", f[1])
				if err != nil {
					return "", err
				}
				go func() {
					b := make([]byte, 65536)
					for {
						n, from, err := c.ReadFrom(b)
						if err != nil {
							return
						}
						_, _ = c.WriteTo(b[:n], from)
					}
				}()
				return c.LocalAddr().String(), nil
			case "udp-open":
				c, err := net.ListenUDP("udp", nil)
				if err != nil {
					return "", err
				}
				packets[id] = c
				return id, nil
			case "udp-send": // id address bytes times: unconnected, waits for the echo
				c := packets[f[1]]
				to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(f[2]))
				n, _ := strconv.Atoi(f[3])
				times, _ := strconv.Atoi(f[4])
				for range times {
					if _, err := c.WriteTo(make([]byte, n), to); err != nil {
						return "", err
					}
					_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
					if _, _, err := c.ReadFrom(make([]byte, 65536)); err != nil {
						return "", err
					}
				}
				return "", nil
			case "dial": // network address [timeout]: not blocking, as Go does it
				d := net.Dialer{Timeout: 20 * time.Second}
				if n, ok := strings.CutPrefix(f[1], "mp"); ok {
					f[1] = n
					d.SetMultipathTCP(true)
				}
				if len(f) > 3 {
					d.Timeout, _ = time.ParseDuration(f[3])
				}
				c, err := d.Dial(f[1], f[2])
				if err != nil {
					return "", err
				}
				conns[id] = c
				return id + " " + c.LocalAddr().String(), nil
			case "connect": // address: blocking
				a := netip.MustParseAddrPort(f[1])
				family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()})
				if a.Addr().Is4() {
					family, sa = unix.AF_INET, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
				}
				fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
				if err != nil {
					return "", err
				}
				if err := unix.Connect(fd, sa); err != nil {
					unix.Close(fd)
					return "", err
				}
				fds[id] = fd
				return id, nil
			case "connect-once": // address: gives up after one more try, 3 seconds
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					return "", err
				}
				defer unix.Close(fd)
				if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1); err != nil {
					return "", err
				}
				a := netip.MustParseAddrPort(f[1])
				return "", unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
			case "fastopen": // address: the first packet brings data; waits for the echo
				if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0); err != nil { // needs no cookie
					return "", err
				}
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					return "", err
				}
				defer unix.Close(fd)
				for _, o := range []int{unix.SO_SNDTIMEO, unix.SO_RCVTIMEO} {
					if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, o, &unix.Timeval{Usec: 500000}); err != nil {
						return "", err
					}
				}
				a := netip.MustParseAddrPort(f[1])
				if err := unix.Sendto(fd, []byte("hello"), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
					return "", err
				}
				n, err := unix.Read(fd, make([]byte, 5))
				if err == nil && n != 5 {
					err = unix.EPIPE
				}
				return "", err
			case "many": // address times: connections that all stand at once
				n, _ := strconv.Atoi(f[2])
				a := netip.MustParseAddrPort(f[1])
				if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 16384, Max: 16384}); err != nil {
					return "", err
				}
				for range n {
					fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
					if err != nil {
						return "", err
					}
					crowd = append(crowd, fd)
					if err := unix.Connect(fd, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}); err != nil {
						return "", err
					}
				}
				return "", nil
			case "none": // of these are left
				for _, fd := range crowd {
					unix.Close(fd)
				}
				crowd = nil
				return "", nil
			case "sweep": // times: as many different addresses, all refused
				n, _ := strconv.Atoi(f[1])
				for i := range n {
					fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
					if err != nil {
						return "", err
					}
					err = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 1, byte(i >> 8), byte(i)}})
					unix.Close(fd)
					if !errors.Is(err, unix.ECONNREFUSED) {
						return "", err
					}
				}
				return "", nil
			case "echo": // id bytes: writes and reads back
				n, _ := strconv.Atoi(f[2])
				c := conns[f[1]]
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				go func() { _, _ = c.Write(make([]byte, n)) }()
				_, err := io.ReadFull(c, make([]byte, n))
				return "", err
			case "say": // id text: writes, and waits for that much to come back
				var text string
				if err := json.Unmarshal([]byte(strings.SplitN(sc.Text(), " ", 3)[2]), &text); err != nil {
					return "", err
				}
				c := conns[f[1]]
				_ = c.SetDeadline(time.Now().Add(time.Second))
				if _, err := io.WriteString(c, text); err != nil {
					return "", err
				}
				_, err := io.ReadFull(c, make([]byte, len(text)))
				return "", err
			case "writev", "sendfile": // id text: says it in small pieces, or from a file
				var text string
				if err := json.Unmarshal([]byte(strings.SplitN(sc.Text(), " ", 3)[2]), &text); err != nil {
					return "", err
				}
				return "", sayOtherwise(fds[f[1]], f[0], text)
			case "fastopen-say": // address text: the first packet brings it
				var text string
				if err := json.Unmarshal([]byte(strings.SplitN(sc.Text(), " ", 3)[2]), &text); err != nil {
					return "", err
				}
				if err := os.WriteFile("/proc/sys/net/ipv4/tcp_fastopen", []byte("5"), 0); err != nil { // needs no cookie
					return "", err
				}
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
				if err != nil {
					return "", err
				}
				fds[id] = fd
				a := netip.MustParseAddrPort(f[1])
				return id, unix.Sendto(fd, []byte(text), unix.MSG_FASTOPEN, &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()})
			case "source": // address bytes: sends so much to who connects, and reads nothing
				l, err := net.Listen("tcp", f[1])
				if err != nil {
					return "", err
				}
				n, _ := strconv.Atoi(f[2])
				go func() {
					c, err := l.Accept()
					if err != nil {
						return
					}
					for ; n > 0; n -= 100_000 {
						_, _ = c.Write(make([]byte, 100_000))
					}
					sources <- c // stays open
				}()
				return l.Addr().String(), nil
			case "source-close":
				return "", (<-sources).Close()
			case "drain": // id bytes: reads and sends nothing
				n, _ := strconv.Atoi(f[2])
				_ = conns[f[1]].SetDeadline(time.Now().Add(20 * time.Second))
				_, err := io.ReadFull(conns[f[1]], make([]byte, n))
				return "", err
			case "dns-pieces": // server name: a datagram whose bytes do not lie together
				q, err := dnsQuestion(f[2], dnsmessage.TypeA)
				if err != nil {
					return "", err
				}
				return "", dnsPieces(f[1], q)
			case "dns-stream": // server name1 name2: the length of the first comes alone, the second with it
				return "", dnsStream(f[1], f[2], f[3])
			case "close":
				if fd, ok := fds[f[1]]; ok {
					return "", unix.Close(fd)
				}
				return "", conns[f[1]].Close()
			case "spend": // work times
				n, _ := strconv.Atoi(f[2])
				cpu, err := spend(ready, f[1], n)
				return strconv.FormatFloat(cpu, 'f', 1, 64), err
			case "raw":
				fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP)
				if err == nil {
					unix.Close(fd)
				}
				return "", err
			case "bind": // tcp|udp port
				port, _ := strconv.Atoi(f[2])
				kind := unix.SOCK_STREAM
				if f[1] == "udp" {
					kind = unix.SOCK_DGRAM
				}
				fd, err := unix.Socket(unix.AF_INET, kind, 0)
				if err != nil {
					return "", err
				}
				defer unix.Close(fd)
				return "", unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
			case "dns-serve": // address
				return "", dnsServe(f[1])
			case "dns-say": // name address: what the server of this process answers from now on
				dnsSaid.Store(f[1], netip.MustParseAddr(f[2]))
				return "", nil
			case "dns-question": // id server name: asks from an open socket and does not wait
				q, err := dnsQuestion(f[3], dnsmessage.TypeA)
				if err != nil {
					return "", err
				}
				_, err = packets[f[1]].WriteTo(q, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(f[2])))
				return packets[f[1]].LocalAddr().String(), err
			case "dns-forge": // source target id name address: an answer out of the blue
				return "", dnsForge(f[1], f[2], f[3], f[4], f[5])
			case "dns": // network server name type
				kind, _ := strconv.Atoi(f[4])
				return dnsAsk(f[1], f[2], f[3], dnsmessage.Type(kind))
			}
			return "", fmt.Errorf("verb %q", f[0])
		}()
		if err != nil {
			fmt.Println("err", errno(err))
			continue
		}
		fmt.Println("ok", reply)
	}
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	r, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	r.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, r)
}

// dnsSaid are the addresses of names that a test chose.
var dnsSaid sync.Map

// dnsForge sends an answer that nobody gave.
func dnsForge(from, to, id, name, addr string) error {
	m := dnsmessage.Message{Header: dnsmessage.Header{Response: true}}
	n, _ := strconv.Atoi(id)
	m.ID = uint16(n)
	q := dnsmessage.Question{Name: dnsmessage.MustNewName(name + "."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	m.Questions = []dnsmessage.Question{q}
	m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: 1, TTL: 300}, Body: &dnsmessage.AResource{A: netip.MustParseAddr(addr).As4()}}}
	b, err := m.Pack()
	if err != nil {
		return err
	}
	local, err := net.ResolveUDPAddr("udp", from)
	if err != nil {
		return err
	}
	c, err := net.ListenUDP("udp", local)
	if err != nil {
		return err
	}
	defer c.Close()
	remote, err := net.ResolveUDPAddr("udp", to)
	if err != nil {
		return err
	}
	_, err = c.WriteTo(b, remote)
	return err
}

// dnsServe answers every A question with 192.0.2.<length of the name> and others with
// NXDOMAIN, over UDP and TCP.
func dnsServe(addr string) error {
	pc, err := net.ListenPacket("udp", addr)
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	answer := func(q []byte) []byte {
		var m dnsmessage.Message
		if m.Unpack(q) != nil || len(m.Questions) != 1 {
			return q
		}
		m.Response = true
		question := m.Questions[0]
		if question.Type == dnsmessage.TypeA {
			alias := dnsmessage.MustNewName("alias.example.")
			a := [4]byte{127, 0, 0, byte(len(question.Name.String()))}
			if said, ok := dnsSaid.Load(strings.TrimSuffix(strings.ToLower(question.Name.String()), ".")); ok {
				a = said.(netip.Addr).As4()
			}
			m.Answers = []dnsmessage.Resource{
				{Header: dnsmessage.ResourceHeader{Name: question.Name, Class: 1, TTL: 300}, Body: &dnsmessage.CNAMEResource{CNAME: alias}},
				{Header: dnsmessage.ResourceHeader{Name: alias, Class: 1, TTL: 60}, Body: &dnsmessage.AResource{A: a}},
			}
		} else {
			m.RCode = dnsmessage.RCodeNameError
		}
		out, _ := m.Pack()
		return out
	}
	go func() {
		b := make([]byte, 4096)
		for {
			n, from, err := pc.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = pc.WriteTo(answer(b[:n]), from)
		}
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for {
					b := make([]byte, 2)
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					b = make([]byte, int(b[0])<<8|int(b[1]))
					if _, err := io.ReadFull(c, b); err != nil {
						return
					}
					out := answer(b)
					_, _ = c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...))
				}
			}()
		}
	}()
	return nil
}

func dnsQuestion(name string, kind dnsmessage.Type) ([]byte, error) {
	n, err := dnsmessage.NewName(name)
	if err != nil {
		return nil, err
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true}, Questions: []dnsmessage.Question{{Name: n, Type: kind, Class: 1}}}
	return m.Pack()
}

func dnsAsk(network, server, name string, kind dnsmessage.Type) (string, error) {
	q, err := dnsQuestion(name, kind)
	if err != nil {
		return "", err
	}
	c, err := net.Dial(network, server)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(5 * time.Second))
	if network == "tcp" {
		q = append([]byte{byte(len(q) >> 8), byte(len(q))}, q...)
	}
	if _, err := c.Write(q); err != nil {
		return "", err
	}
	b := make([]byte, 4096)
	got, err := c.Read(b)
	return strconv.Itoa(got), err
}

// helper is one such process.
type helper struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	// join is the cgroup it was put in
	join uint64
}

// contained starts a helper in its own namespaces, network included, as in a container.
func contained(t testing.TB) *helper {
	h := startHelper(t, unix.CLONE_NEWNS|unix.CLONE_NEWPID|unix.CLONE_NEWNET)
	h.ok("lo")
	return h
}

func startHelper(t testing.TB, flags uintptr) *helper {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), helperEnv+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags, Pdeathsig: unix.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.EPERM) {
			prerequisite.Missing(t, "namespaces need root: %v", err)
		}
		t.Fatal(err)
	}
	h := &helper{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
	})
	return h
}

// do sends one line and returns the answer: "ok …" or "err ERRNO"; "" when the helper died.
func (h *helper) do(format string, args ...any) string {
	h.t.Helper()
	if _, err := fmt.Fprintf(h.in, format+"\n", args...); err != nil {
		return ""
	}
	if !h.out.Scan() {
		return ""
	}
	return h.out.Text()
}

func (h *helper) ok(format string, args ...any) string {
	h.t.Helper()
	r, ok := strings.CutPrefix(h.do(format, args...), "ok")
	if !ok {
		h.t.Fatalf("%s: %s", fmt.Sprintf(format, args...), r)
	}
	return strings.TrimSpace(r)
}

func (h *helper) pid() uint32 { return uint32(h.cmd.Process.Pid) }

// cgroup makes a cgroup in the tree that tells workloads apart, and puts the helper there.
func (h *helper) cgroup(k *sensor.Kernel) uint64 {
	h.t.Helper()
	dir := filepath.Join(k.CgroupRoot, fmt.Sprintf("bollwerk-test-%d", h.pid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		h.in.Close()
		_ = h.cmd.Wait()
		for range 100 {
			if os.Remove(dir) == nil {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
	})
	h.ok("cgroup %s", dir)
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		h.t.Fatal(err)
	}
	h.join = st.Ino
	return st.Ino
}

// watch is a running sensor with this source.
type watch struct {
	t      testing.TB
	source *Source
	sensor *sensor.Sensor
	mu     sync.Mutex
	events []*bollwerk.Event
	more   chan struct{}
	stop   func()
}

// sharedWatch is the shared sensor, which hands out flows every 200 ms, without the
// events of former tests.
func sharedWatch(t testing.TB) *watch {
	t.Helper()
	if shared == nil {
		w := openWatchKept(t, Config{FlowEvery: 200 * time.Millisecond}, 0)
		w.stop = w.start()
		shared = w
	}
	shared.mu.Lock()
	shared.events = nil
	shared.mu.Unlock()
	shared.t = t
	return shared
}

// says reports whether the doctor says of an area that something of it is not seen: the
// tests expect just that.
func (w *watch) says(area, words string) bool {
	return slices.ContainsFunc(w.sensor.Capabilities(), func(r sensor.Capability) bool { return r.Area == area && r.Cause == words })
}

func newWatch(t testing.TB, c Config) *watch {
	t.Helper()
	w := openWatch(t, c)
	w.run()
	return w
}

func openWatch(t testing.TB, c Config) *watch {
	t.Helper()
	return openRing(t, c, 0)
}

func openRing(t testing.TB, c Config, ring int) *watch {
	t.Helper()
	w := openWatchKept(t, c, ring)
	t.Cleanup(func() { w.sensor.Close() })
	return w
}

func openWatchKept(t testing.TB, c Config, ring int) *watch {
	t.Helper()
	w := &watch{t: t, source: New(c), more: make(chan struct{}, 1)}
	s, err := sensor.Open(context.Background(), sensor.Options{Ring: ring}, w.source)
	if err != nil {
		t.Fatal(err)
	}
	w.sensor = s
	if err := s.Kernel().BPF(); err != nil {
		prerequisite.Missing(t, "no BPF: %v", err)
	}
	return w
}

func (w *watch) run() { w.t.Cleanup(w.start()) }

// start runs the sensor until the returned function is called.
func (w *watch) start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := w.sensor.Run(ctx, func(e *bollwerk.Event) {
			w.mu.Lock()
			w.events = append(w.events, e)
			w.mu.Unlock()
			select {
			case w.more <- struct{}{}:
			default:
			}
		}); err != nil {
			w.t.Error(err)
		}
	}()
	return func() {
		cancel()
		<-done
	}
}

// all events so far that match.
func (w *watch) all(match func(*bollwerk.Event) bool) (out []*bollwerk.Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if match(e) {
			out = append(out, e)
		}
	}
	return out
}

// await is the first event that matches; the test fails when none comes.
func (w *watch) await(what string, match func(*bollwerk.Event) bool) *bollwerk.Event {
	w.t.Helper()
	deadline := time.After(time.Minute)
	for {
		if found := w.all(match); len(found) > 0 {
			return found[0]
		}
		select {
		case <-w.more:
		case <-deadline:
			w.mu.Lock()
			for _, e := range w.events[max(0, len(w.events)-40):] {
				short := *e
				short.Process = &bollwerk.Process{}
				if e.Process != nil {
					short.Process.PID, short.Process.Cgroup = e.Process.PID, e.Process.Cgroup
				}
				b, _ := json.Marshal(&short)
				w.t.Logf("%s", b)
			}
			w.mu.Unlock()
			w.t.Fatalf("no event: %s", what)
			return nil
		}
	}
}

// by matches events of a kind of one helper.
func (h *helper) by(kind bollwerk.EventKind) func(*bollwerk.Event) bool {
	return func(e *bollwerk.Event) bool {
		return e.Kind == kind && e.Process != nil && e.Process.PID == h.pid()
	}
}
