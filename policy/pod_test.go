package policy_test

import (
	"context"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/policy"
)

// podSubject is declared outside the package, as one for cluster objects will be:
// the language needs no change to judge a new kind of thing.
func podSubject() *policy.Subject {
	securityContext := &policy.Object{Name: "pod.SecurityContext", Fields: []policy.Field{
		{Name: "privileged", Type: policy.Bool()},
		{Name: "runAsNonRoot", Type: policy.Bool()},
		{Name: "runAsUser", Type: policy.Int()},
	}}
	container := &policy.Object{Name: "pod.Container", Fields: []policy.Field{
		{Name: "name", Type: policy.Text()},
		{Name: "image", Type: policy.Text()},
		{Name: "securityContext", Type: policy.Of(securityContext)},
	}}
	metadata := &policy.Object{Name: "pod.Metadata", Fields: []policy.Field{
		{Name: "name", Type: policy.Text()},
		{Name: "namespace", Type: policy.Text()},
		{Name: "labels", Type: policy.Map(policy.Text())},
	}}
	spec := &policy.Object{Name: "pod.Spec", Fields: []policy.Field{
		{Name: "hostNetwork", Type: policy.Bool()},
		{Name: "containers", Type: policy.List(policy.Of(container))},
		{Name: "volumes", Type: policy.List(policy.Any())}, // as the API server gives it
	}}
	return &policy.Subject{Kind: "pod", Doc: "a Kubernetes pod", Absent: "no cluster is connected",
		Type: &policy.Object{Name: "pod.Pod", Fields: []policy.Field{
			{Name: "metadata", Type: policy.Of(metadata)},
			{Name: "spec", Type: policy.Of(spec), Areas: []string{"cluster"}},
		}}}
}

const privilegedPod = `
id: privileged-container
title: A container is privileged
severity: critical
mode: enforce
subject: pod
description: Containers that run with privileged set.
why: A privileged container is root on the node.
when: '!(pod.metadata.namespace in params.exempt)'
parameters:
  exempt: {type: list(string), default: [kube-system], description: namespaces that may}
violations: >-
  pod.spec.containers.filter(c, has(c.securityContext) && has(c.securityContext.privileged) && c.securityContext.privileged)
report: each
message: container {{ it.name }} ({{ it.image }}) of {{ pod.metadata.namespace }}/{{ pod.metadata.name }} is privileged
fix: set securityContext.privileged to false
mappings:
  CIS Kubernetes Benchmark: ["5.2.2"]
`

func TestAnotherPackagesSubject(t *testing.T) {
	e := engine(t, policy.Options{Subjects: append(policy.Subjects(), podSubject())})
	p, err := policy.Parse("pod.yaml", []byte(privilegedPod))
	if err != nil {
		t.Fatal(err)
	}
	hostPath, err := policy.Parse("hostpath.yaml", []byte(strings.ReplaceAll(document(
		"id: host-path\nsubject: pod\nviolations: 'pod.spec.volumes.filter(v, has(v.hostPath))'\nmessage: \"{{ items.map(v, string(v.name)).enumerate(3) }}\""), "\t", " ")))
	if err != nil {
		t.Fatal(err)
	}
	pod := func(namespace string, privileged bool) m {
		return m{"metadata": m{"name": "web", "namespace": namespace}, "spec": m{"containers": []any{
			m{"name": "side", "image": "side:1"},
			m{"name": "app", "image": "app:1", "securityContext": m{"privileged": privileged}},
		}, "volumes": []any{m{"name": "tmp", "emptyDir": m{}}, m{"name": "node", "hostPath": m{"path": "/"}}}}}
	}
	say := func(subject any) []policy.Decision {
		t.Helper()
		ds, err := e.Evaluate(context.Background(), "pod", subject, append(shipped(t), p, hostPath))
		if err != nil {
			t.Fatal(err)
		}
		return ds
	}
	ds := say(pod("shop", true))
	if len(ds) != 2 || ds[0].Verdict != bollwerk.Fail || ds[0].Message != "container app (app:1) of shop/web is privileged" || ds[0].Mode != policy.Enforce {
		t.Errorf("%+v", ds)
	}
	if ds[1].Verdict != bollwerk.Fail || ds[1].Message != "node" {
		t.Errorf("%+v", ds[1])
	}
	if ds := say(pod("shop", false)); ds[0].Verdict != bollwerk.Pass {
		t.Errorf("%+v", ds)
	}
	if ds := say(pod("kube-system", true)); ds[0].Applies {
		t.Errorf("%+v", ds)
	}
	if ds := say(nil); ds[0].Verdict != bollwerk.NotEvaluated || ds[0].Cause != "no cluster is connected" {
		t.Errorf("%+v", ds)
	}
	if ds := say(policy.Input{Value: pod("shop", false), Coverage: []bollwerk.Coverage{{Area: "cluster:shop", Verdict: bollwerk.NotEvaluated, Cause: "403 from the API server"}}}); ds[0].Verdict != bollwerk.Degraded {
		t.Errorf("%+v", ds)
	}
	wrong := strings.Replace(privilegedPod, "pod.spec.containers", "pod.spec.contianers", 1)
	p, err = policy.Parse("pod.yaml", []byte(wrong))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Compile(p); err == nil || !strings.Contains(err.Error(), `pod.yaml:13: violations: column 9: pod.Spec has no field "contianers"; did you mean "containers"?`) {
		t.Errorf("got %v", err)
	}
}
