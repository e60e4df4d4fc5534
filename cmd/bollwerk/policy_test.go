package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
)

// policyCommand runs `bollwerk policy …` and returns exit code, stdout and stderr.
func policyCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	e := &env{stdin: strings.NewReader(stdin), stdout: &out, stderr: &errs, getenv: func(string) string { return "" }, version: "test"}
	c := newPolicyCommand(e)
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetArgs(args)
	err := c.ExecuteContext(context.Background())
	if err != nil {
		code = exitFailed
		var ee *exitError
		if errors.As(err, &ee) {
			code = ee.code
		}
		errs.WriteString(err.Error())
	}
	return code, out.String(), errs.String()
}

func TestPolicyVerb(t *testing.T) {
	for _, a := range [][]string{{"list"}, {"lint"}, {"test"}, {"explain", "setuid-files"}, {"explain", "runs-as-rot"}} {
		code, out, errs := policyCommand(t, "", a...)
		t.Log(a, code, out, errs)
	}
	code, out, errs := policyCommand(t, `{"config":{"user":"root"}, "files":[{"path":"a/b","kind":"setuid","detail":""}]}`, "explain", "runs-as-root", "--input", "-")
	t.Log(code, out, errs)
	code, out, errs = policyCommand(t, `{"config":{"user":"root"}, "files":[{"path":"a/b","kind":"setuid","detail":""}]}`, "explain", "setuid-files", "--input", "-")
	t.Log(code, out, errs)
}
