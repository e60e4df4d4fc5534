package all

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/bollwerk/bollwerk"
	"github.com/bollwerk/bollwerk/workload"
	"github.com/bollwerk/bollwerk/workload/kubernetes"
	"github.com/bollwerk/bollwerk/workload/workloadtest"
)

// Every folder of workload is in the list.
func TestComplete(t *testing.T) {
	sources, err := Sources(Config{Kubernetes: kubernetes.Config{Kubelet: "https://127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range sources {
		names = append(names, strings.ReplaceAll(s.Name(), "-", ""))
	}
	dirs, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && d.Name() != "all" && d.Name() != "workloadtest" && d.Name() != "testdata" && !slices.Contains(names, d.Name()) {
			t.Errorf("workload/%s is not in the list", d.Name())
		}
	}
}

// On a machine with nothing nothing is wrong: what is absent says so, and only that.
func TestNothing(t *testing.T) {
	sources, err := Sources(Host(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	r := workloadtest.Resolver(t, workload.Config{}, sources...)
	list, gap := r.Existing(context.Background())
	if len(list) == 0 || list[0].Kind != bollwerk.WorkloadHost || gap != "" {
		t.Errorf("%d, %s", len(list), gap)
	}
	for _, s := range r.Sources() {
		if s.Verdict != bollwerk.NotEvaluated || s.Cause == "" || s.Failed != 0 {
			t.Errorf("%+v", s)
		}
	}
}
