package policy_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

func TestHush(t *testing.T) {
	d := &bollwerk.Detection{Rule: "web-script-written",
		Process: &bollwerk.Process{Path: "/usr/sbin/php-fpm8.2", Parent: &bollwerk.Process{Path: "/sbin/init"}},
		Workload: &bollwerk.Workload{Kind: bollwerk.WorkloadContainer, Container: &bollwerk.Container{ID: "1", Name: "x", Image: "reg/shop:1", Runtime: "containerd"},
			Pod: &bollwerk.Pod{Namespace: "shop", Name: "cart-5d9", Container: "app", OwnerKind: "Deployment", OwnerName: "cart"}},
		Events: []*bollwerk.Event{{File: &bollwerk.FileEvent{Path: "/var/www/a.php"}}, {}},
	}
	for scope, want := range map[string]bool{
		"policies: [web-script-written]":                                                     true,
		"policies: [web-*]":                                                                  true,
		"policies: [other]":                                                                  false,
		"kinds: [detection]":                                                                 true,
		"kinds: [standard], policies: [web-*]":                                               false,
		"policies: [web-*], workloads: [shop/cart-*/app]":                                    true,
		"policies: [web-*], workloads: ['pod shop/Deployment/cart/*']":                       true,
		"policies: [web-*], workloads: ['reg/shop:*']":                                       true,
		"policies: [web-*], workloads: [host]":                                               false,
		"policies: [web-*], processes: [/usr/sbin/php-fpm*]":                                 true,
		"policies: [web-*], processes: [/sbin/init]":                                         true,
		"policies: [web-*], processes: [/bin/sh]":                                            false,
		"policies: [web-*], artifacts: ['reg/*']":                                            true,
		"policies: [web-*], artifacts: ['other/*']":                                          false,
		"policies: [web-*], paths: ['/var/www/*']":                                           true,
		"policies: [web-*], paths: ['/etc/*']":                                               false,
		"issues: [web-script-written]":                                                       false,
		"policies: [web-*], packages: [php]":                                                 false,
		"policies: [web-*], workloads: [shop/*], processes: [/usr/*], paths: ['/var/www/*']": true,
	} {
		c, err := policy.LoadConfig(strings.NewReader("exceptions:\n  - {id: x, reason: r, owner: o, expires: 2026-01-31, scope: {"+scope+"}}\n"), "c")
		if err != nil {
			t.Fatal(err)
		}
		if x := c.Hush(d, time.Date(2026, 1, 31, 23, 0, 0, 0, time.UTC)); (x != nil) != want {
			t.Errorf("%s: %v, want %v", scope, x, want)
		}
		if x := c.Hush(d, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)); x != nil {
			t.Errorf("%s: an exception that has ended hides", scope)
		}
		// What is written for detections hides no finding.
		if strings.Contains(scope, "workloads") || strings.Contains(scope, "processes") {
			f := []bollwerk.Finding{{Policy: "web-script-written", Kind: bollwerk.KindStandard}}
			if c.Apply(f, "reg/shop:1", time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); f[0].Suppressed != nil {
				t.Errorf("%s: hides a finding", scope)
			}
		}
	}
	c, err := policy.LoadConfig(strings.NewReader("exceptions:\n  - {id: x, reason: r, owner: o, expires: 2026-01-31, scope: {policies: [a], workloads: [host]}}\npolicies: {reverse-shell: {mode: warn}}\n"), "c")
	if err != nil {
		t.Fatal(err)
	}
	// A detection without workload or process is of the host.
	if c.Hush(&bollwerk.Detection{Rule: "a"}, time.Unix(0, 0)) == nil {
		t.Error("the host's detection is not covered")
	}
	if _, _, err := c.Override(nil); err == nil {
		t.Error("an unknown ID is accepted")
	}
	if _, _, err := c.Override(nil, "reverse-shell"); err != nil {
		t.Error(err)
	}
}
