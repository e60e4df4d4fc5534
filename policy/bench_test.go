package policy_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/internal/glob"
	"github.com/bollwerk/bollwerk/policy"
)

// subjects makes n images as a scan would describe them: 20 facts, 200 packages,
// 8 variables, 12 history lines each.
func imageResults(n int) []*bollwerk.Result {
	out := make([]*bollwerk.Result, 0, n)
	for i := range n {
		created := day.AddDate(0, 0, -i%400)
		r := &bollwerk.Result{Target: bollwerk.Artifact{
			Kind: bollwerk.KindImage, Ref: fmt.Sprintf("registry.example.org/app%d:1.%d", i, i), Name: fmt.Sprintf("app%d:1.%d", i, i), Created: &created,
			OS:     &bollwerk.Distribution{ID: "debian", VersionID: fmt.Sprint(9 + i%5)},
			Config: &bollwerk.ImageConfig{User: []string{"", "root", "1000", "app"}[i%4], Labels: map[string]string{"a": "b"}, ExposedPorts: []string{"80/tcp", fmt.Sprintf("%d/tcp", 20+i%5)}},
		}}
		for j := range 8 {
			r.Target.Config.Env = append(r.Target.Config.Env, fmt.Sprintf("NAME_%d=value%d", j, i))
		}
		for j := range 12 {
			r.Target.Config.History = append(r.Target.Config.History, bollwerk.HistoryLine{CreatedBy: fmt.Sprintf("RUN /bin/sh -c step %d # buildkit", j)})
		}
		kinds := []bollwerk.FactKind{bollwerk.FactSetUID, bollwerk.FactShell, bollwerk.FactPackageManager, bollwerk.FactDebugTool, bollwerk.FactWorldWritable}
		for j := range 20 {
			r.Facts = append(r.Facts, bollwerk.FileFact{Kind: kinds[(i+j)%5], Path: fmt.Sprintf("usr/bin/tool%d", j), Detail: "x"})
		}
		for j := range 200 {
			r.Packages = append(r.Packages, bollwerk.Package{PURL: bollwerk.PURL(fmt.Sprintf("pkg:deb/debian/lib%d@1.%d", j, i)), Name: fmt.Sprintf("lib%d", j), Version: "1"})
		}
		out = append(out, r)
	}
	return out
}

// plainGo judges an image by six of the shipped policies, written by hand: what
// the language costs is measured against it.
func plainGo(r *bollwerk.Result, now time.Time) int {
	bad := 0
	user, _, _ := strings.Cut(r.Target.Config.User, ":")
	if user == "" || user == "root" || strings.Trim(user, "0") == "" {
		bad++
	}
	for _, f := range r.Facts {
		if f.Kind == bollwerk.FactSetUID || f.Kind == bollwerk.FactSetGID {
			bad++
			break
		}
	}
	for _, f := range r.Facts {
		if f.Kind == bollwerk.FactShell {
			bad++
			break
		}
	}
	names := []string{"gcc", "gcc-?", "gcc-??", "g++", "g++-?", "g++-??", "cpp", "cpp-?", "cpp-??", "clang", "clang-??", "make", "cmake", "ninja-build",
		"binutils", "build-essential", "build-base", "automake", "autoconf", "golang-go", "golang", "go", "rustc", "cargo", "git",
		"gcc-c++", "musl-dev", "libc6-dev", "glibc-devel"}
	for i := range r.Packages {
		p := &r.Packages[i]
		if (strings.HasPrefix(string(p.PURL), "pkg:deb/") || strings.HasPrefix(string(p.PURL), "pkg:apk/") || strings.HasPrefix(string(p.PURL), "pkg:rpm/")) && glob.MatchAny(names, p.Name) {
			bad++
			break
		}
	}
	for _, p := range r.Target.Config.ExposedPorts {
		if p == "22/tcp" || p == "23/tcp" {
			bad++
			break
		}
	}
	if now.Sub(*r.Target.Created) > 180*24*time.Hour {
		bad++
	}
	return bad
}

func only(ps []*policy.Policy, ids ...string) []*policy.Policy {
	var out []*policy.Policy
	for _, p := range ps {
		for _, id := range ids {
			if p.ID == id {
				out = append(out, p)
			}
		}
	}
	return out
}

// BenchmarkImages judges 1,000 images by every shipped policy, and by the six that
// are also written in plain Go; ratio is the cost of the language for these.
func BenchmarkImages(b *testing.B) {
	results := imageResults(1000)
	ps := shipped(b)
	six := only(ps, "runs-as-root", "setuid-files", "shell-present", "build-tool-present", "remote-access-port", "image-too-old")
	ctx := context.Background()
	judge := func(b *testing.B, e *policy.Engine, ps []*policy.Policy) time.Duration {
		start := time.Now()
		for _, r := range results {
			if _, err := e.Evaluate(ctx, "image", policy.ImageSubject(r, []bollwerk.Secret{}), ps); err != nil {
				b.Fatal(err)
			}
		}
		return time.Since(start)
	}
	b.Run("all", func(b *testing.B) {
		e := engine(b, policy.Options{})
		judge(b, e, ps)
		for b.Loop() {
			judge(b, e, ps)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/1000, "µs/image")
	})
	b.Run("six", func(b *testing.B) {
		e := engine(b, policy.Options{})
		judge(b, e, six)
		var cel, plain time.Duration
		bad := 0
		for b.Loop() {
			cel += judge(b, e, six)
			start := time.Now()
			for _, r := range results {
				bad += plainGo(r, day)
			}
			plain += time.Since(start)
		}
		if bad == 0 {
			b.Fatal("the yardstick found nothing")
		}
		b.ReportMetric(float64(cel)/float64(plain), "×plain-Go")
	})
}

// BenchmarkFirst measures what a scan pays once: reading the shipped policies,
// making the engine, and judging one image with nothing compiled yet.
func BenchmarkFirst(b *testing.B) {
	r := imageResults(1)[0]
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			if _, err := policy.Load(os.DirFS("../policies")); err != nil {
				b.Fatal(err)
			}
		}
	})
	ps := shipped(b)
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			engine(b, policy.Options{})
		}
	})
	b.Run("image", func(b *testing.B) {
		for b.Loop() {
			e := engine(b, policy.Options{})
			if _, err := e.Evaluate(context.Background(), "image", policy.ImageSubject(r, []bollwerk.Secret{}), ps); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("distribution", func(b *testing.B) {
		for b.Loop() {
			e := engine(b, policy.Options{})
			if _, err := e.Evaluate(context.Background(), "distribution", policy.DistributionSubject(r), ps); err != nil {
				b.Fatal(err)
			}
		}
	})
}
