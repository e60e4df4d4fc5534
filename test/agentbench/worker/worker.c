//go:build ignore

// The workload that is measured: one small static program, so that what is counted is
// the kernel's work and the agent's, not a run-time system's. It reads one command per
// line and answers with processor time (user + system, its children's too), elapsed
// time and the number of things done, in nanoseconds.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void die(const char *what) {
	printf("error %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(1);
}

static long long ns(clockid_t c) {
	struct timespec t;
	clock_gettime(c, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long of(int who) {
	struct rusage r;
	getrusage(who, &r);
	return (r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000000LL + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) * 1000LL;
}

static long long cpu(void) { return ns(CLOCK_PROCESS_CPUTIME_ID) + of(RUSAGE_CHILDREN); }

static void collect(pid_t p) {
	int s;
	if (p < 0) die("fork");
	if (waitpid(p, &s, 0) < 0 || !WIFEXITED(s) || WEXITSTATUS(s) != 0) die("child");
}

static char *child[] = {"child", "exit", NULL}, *none[] = {NULL};

static void start_fork(const char *program) {
	pid_t p = fork();
	if (p == 0) {
		execve(program, child, none);
		_exit(127);
	}
	collect(p);
}

static void start_vfork(const char *program) {
	pid_t p = vfork();
	if (p == 0) {
		execve(program, child, none);
		_exit(127);
	}
	collect(p);
}

static struct sockaddr_in address;

static int bound(int kind) {
	socklen_t n = sizeof address;
	int fd = socket(AF_INET, kind | SOCK_CLOEXEC, 0);
	memset(&address, 0, sizeof address);
	address.sin_family = AF_INET;
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) || getsockname(fd, (struct sockaddr *)&address, &n)) die("socket");
	return fd;
}

static int listener = -1;
static struct sockaddr_in listening;

static void dial(void) {
	if (listener < 0) {
		listener = bound(SOCK_STREAM);
		listening = address;
		if (listen(listener, 64)) die("listen");
	}
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&listening, sizeof listening)) die("connect");
	int c = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (c < 0) die("accept");
	close(fd); // the side that dialled waits in TIME_WAIT
	close(c);
}

static int ping = -1, pong;
static struct sockaddr_in ping_at, pong_at;

static void datagrams(void) {
	char b[64];
	if (ping < 0) {
		ping = bound(SOCK_DGRAM), ping_at = address;
		pong = bound(SOCK_DGRAM), pong_at = address;
	}
	memset(b, 'x', sizeof b);
	if (sendto(ping, b, sizeof b, 0, (struct sockaddr *)&pong_at, sizeof pong_at) < 0 || recv(pong, b, sizeof b, 0) < 0 ||
	    sendto(pong, b, sizeof b, 0, (struct sockaddr *)&ping_at, sizeof ping_at) < 0 || recv(ping, b, sizeof b, 0) < 0)
		die("datagram");
}

static void open_close(const char *path, int flags) {
	int fd = open(path, flags | O_CLOEXEC);
	if (fd < 0) die(path);
	close(fd);
}

// connects of a datagram socket send nothing: what is timed is the decision.
static void associate(int fd, const char *to, int want) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(9)};
	inet_pton(AF_INET, to, &a.sin_addr);
	int r = connect(fd, (struct sockaddr *)&a, sizeof a) ? errno : 0;
	if (r != want) {
		errno = r;
		die("the kernel's answer");
	}
}

// starts of a program that fail, and thereby need no process of their own.
static void start(const char *path, int want) {
	execve(path, child, none);
	if (errno != want) die("the kernel's answer");
}

// opens alone: what is closed, and when, is not measured.
static long long opens(int n, const char *path, int flags, int want, long long *wall) {
	long long cpu_time = 0;
	*wall = 0;
	while (n > 0) {
		int fds[100], m = n < 100 ? n : 100;
		long long c = ns(CLOCK_PROCESS_CPUTIME_ID), w = ns(CLOCK_MONOTONIC);
		for (int i = 0; i < m; i++) {
			fds[i] = open(path, flags | O_CLOEXEC);
			if ((fds[i] < 0 ? errno : 0) != want) die("the kernel's answer");
		}
		cpu_time += ns(CLOCK_PROCESS_CPUTIME_ID) - c;
		*wall += ns(CLOCK_MONOTONIC) - w;
		for (int i = 0; i < m; i++)
			if (fds[i] >= 0) close(fds[i]);
		n -= m;
	}
	return cpu_time;
}

// mixed: a third each programs, connections, opens of a file; the count of each is told.
static void mixed(int n, const char *program, const char *path) {
	for (int i = 0; i < n; i++)
		switch (i % 3) {
		case 0: start_vfork(program); break;
		case 1: dial(); break;
		case 2: open_close(path, O_RDONLY); break;
		}
}

int main(int argc, char **argv) {
	char line[4096], what[64], a[2048], b[1024];
	if (argc > 1 && !strcmp(argv[1], "exit")) return 0;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("ready\n");
	while (fgets(line, sizeof line, stdin)) {
		int n = 0;
		a[0] = b[0] = 0;
		if (sscanf(line, "%63s %d %2047s %1023s", what, &n, a, b) < 2) die("command");
		int fd = -1;
		if (!strcmp(what, "deny") || !strcmp(what, "allow")) fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		long long now = ns(CLOCK_REALTIME), only = -1, only_wall = 0, wall = ns(CLOCK_MONOTONIC), c = cpu();
		if (!strcmp(what, "null")) for (int i = 0; i < n; i++) syscall(SYS_getppid);
		else if (!strcmp(what, "open")) for (int i = 0; i < n; i++) open_close(a, O_RDONLY);
		else if (!strcmp(what, "openw")) for (int i = 0; i < n; i++) open_close(a, O_WRONLY);
		else if (!strcmp(what, "fork")) for (int i = 0; i < n; i++) start_fork(a);
		else if (!strcmp(what, "vfork")) for (int i = 0; i < n; i++) start_vfork(a);
		else if (!strcmp(what, "connect")) for (int i = 0; i < n; i++) dial();
		else if (!strcmp(what, "udp")) for (int i = 0; i < n; i++) datagrams();
		else if (!strcmp(what, "allow")) for (int i = 0; i < n; i++) associate(fd, a, 0);
		else if (!strcmp(what, "deny")) for (int i = 0; i < n; i++) associate(fd, a, EPERM);
		else if (!strcmp(what, "start")) for (int i = 0; i < n; i++) start(a, atoi(b));
		else if (!strcmp(what, "read")) only = opens(n, a, O_RDONLY, atoi(b), &only_wall);
		else if (!strcmp(what, "write")) only = opens(n, a, O_WRONLY, atoi(b), &only_wall);
		else if (!strcmp(what, "answer")) { execve(a, child, none); only = errno; } // what a start of it gives
		else if (!strcmp(what, "mixed")) mixed(n, a, b);
		else if (!strcmp(what, "run")) { // as a shell does; what became of it is nobody's business
			pid_t p = vfork();
			if (p == 0) { execl(a, a, b[0] ? b : NULL, NULL); _exit(127); }
			waitpid(p, NULL, 0);
		} else die(what);
		c = cpu() - c;
		wall = ns(CLOCK_MONOTONIC) - wall;
		if (only >= 0) c = only, wall = only_wall;
		if (fd >= 0) close(fd);
		printf("%lld %lld %lld\n", c, wall, now);
	}
	return 0;
}
