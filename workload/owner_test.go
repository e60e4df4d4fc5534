package workload

import (
	"context"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
)

const hexC = "abcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcdefabcd"

func TestOwner(t *testing.T) {
	const alloc = "4f1c2d3e-0000-1111-2222-333344445555"
	for _, tt := range []struct {
		name   string
		labels map[string]string
		want   string
	}{
		{"shop-web-1", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.container-number": "1"}, "shop/web"},
		{"shop-web-run-1a2b", map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web", "com.docker.compose.oneoff": "True"}, "shop/web/run"},
		{"shop_web_1", map[string]string{"io.podman.compose.project": "shop", "com.docker.compose.service": "web"}, "shop/web"},
		{"shop_web.2.x7k", map[string]string{"com.docker.swarm.service.name": "shop_web", "com.docker.stack.namespace": "shop"}, "shop_web"},
		{"server-" + alloc, map[string]string{"com.hashicorp.nomad.alloc_id": alloc}, "server"},
		{"server-" + alloc, map[string]string{"com.hashicorp.nomad.alloc_id": alloc, "com.hashicorp.nomad.job_name": "shop", "com.hashicorp.nomad.task_group_name": "web", "com.hashicorp.nomad.task_name": "server"}, "shop/web/server"},
		{"web", map[string]string{"com.docker.compose.project": "shop"}, ""},
		{"web", map[string]string{"maintainer": "x"}, ""},
		{"web", nil, ""},
	} {
		if got := owner(&bollwerk.Container{Name: tt.name, Labels: tt.labels}); got != tt.want {
			t.Errorf("%s %v: %q, want %q", tt.name, tt.labels, got, tt.want)
		}
	}
}

// TestReplicasShareAKey: two containers of a Compose service are one workload to learn,
// another image is another one, and people still see their names.
func TestReplicasShareAKey(t *testing.T) {
	labels := map[string]string{"com.docker.compose.project": "shop", "com.docker.compose.service": "web"}
	f := func(id, name, digest string) Found {
		return Found{Container: bollwerk.Container{ID: id, Name: name, Runtime: "docker", Digest: bollwerk.Digest(digest), Labels: labels}}
	}
	all := map[string]Found{hexA: f(hexA, "shop-web-1", "sha256:aa"), hexB: f(hexB, "shop-web-2", "sha256:aa"), hexC: f(hexC, "shop-web-3", "sha256:bb")}
	s := &fake{name: "docker", local: func(r Ref) (Found, error) {
		if f, ok := all[r.ID]; ok {
			return f, nil
		}
		return Found{}, ErrUnknown
	}}
	r := run(t, Config{}, s)
	at := func(n uint64, id string) *bollwerk.Workload {
		return r.Resolve(context.Background(), 1<<40+n, scope(id), 0)
	}
	one, two, other := at(1, hexA), at(2, hexB), at(3, hexC)
	if one.Key() != two.Key() || one.Key() != "container docker/shop/web@sha256:aa" || other.Key() == one.Key() {
		t.Errorf("keys %q, %q, %q", one.Key(), two.Key(), other.Key())
	}
	if !strings.HasPrefix(one.String(), "shop-web-1") || !strings.HasPrefix(two.String(), "shop-web-2") {
		t.Errorf("names %q, %q", one, two)
	}
}
