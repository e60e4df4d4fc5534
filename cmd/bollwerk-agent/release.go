package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/sensor"
)

func newReleaseCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use:   "release",
		Short: "take back everything that is denied, at once",
		Long: `Removes every policy from the kernel: those of the running agent, and those that a
former agent left in force. The running agent goes on seeing; it does not deny or
stop anything again until it is restarted.

Exit codes: 0 nothing is denied any more, 3 it could not be done.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runRelease(c.Context(), e) },
	}
}

func runRelease(ctx context.Context, e *env) error {
	var r agent.Released
	err := e.ask(ctx, "POST", "/release", &r)
	switch {
	case err == nil:
		fmt.Fprintf(e.stdout, "released: %d workloads of the running agent, %d things pinned in the kernel\n", r.Workloads, r.Pins)
	case errors.Is(err, agent.ErrNotRunning):
		if c, problem := e.configuration(); problem == nil && agent.Other(c) != nil {
			return err // it goes on enforcing, and would do so unnoticed
		}
		n := len(sensor.Inherited(sensor.PinRoot))
		if err := sensor.Release(sensor.PinRoot); err != nil {
			return fmt.Errorf("no agent is running, and what a former one left could not be released: %w; run this as root", err)
		}
		fmt.Fprintf(e.stdout, "no agent is running; released %d things that a former one left pinned in the kernel\n", n)
	default:
		return err
	}
	if len(r.Problems) > 0 {
		return fmt.Errorf("not everything could be released: %s", r.Problems[0])
	}
	return nil
}
