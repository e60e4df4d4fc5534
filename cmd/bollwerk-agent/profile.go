package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/bollwerk/bollwerk/agent"
	"github.com/bollwerk/bollwerk/internal/terminal"
	"github.com/bollwerk/bollwerk/profile"
)

func newProfileCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:   "profile",
		Short: "what workloads were seen to do, and whether they are held to it",
		Long: `A profile is learned for each workload: programs, ports, destinations, files,
capabilities, users. It begins in mode learn, observes deviations once it is complete
enough, and restricts the workload to what it knows when somebody says so.

WORKLOAD is a key as ` + "`profile list`" + ` prints it, or a part of one that is unmistakable.`,
		Args: onlyVerbs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newProfileListCommand(e), newProfileShowCommand(e), newProfileExportCommand(e), newProfileImportCommand(e), newProfileDiffCommand(e),
		newProfileModeCommand(e), newProfileResetCommand(e), newProfileEditCommand(e, "allow"), newProfileEditCommand(e, "forbid"), newProfileRenderCommand(e))
	return c
}

func workloadArgument(n int, usage string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return usageError(fmt.Errorf("`%s` wants %s; see `%[1]s --help`", c.CommandPath(), usage))
		}
		return nil
	}
}

func newProfileListCommand(e *env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "list", Short: "all profiles, how complete they are and what comes next", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			var list []*profile.Status
			if err := e.ask(c.Context(), "GET", "/profiles", &list); err != nil {
				return err
			}
			if asJSON {
				return encodeJSON(e.json(), list)
			}
			if len(list) == 0 {
				fmt.Fprintln(e.stdout, "No workload was learned yet: a profile begins with the first event of a container or service.")
				return nil
			}
			tw := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
			fmt.Fprintln(tw, "WORKLOAD\tMODE\tKNOWN\tRUNNING\tNEXT")
			for _, s := range list {
				fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%s\n", terminal.Clean(s.Workload, 80), s.Mode, s.Entries, s.Running, terminal.Clean(next(s), 120))
			}
			return tw.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// next says which mode comes next and what is missing until then.
func next(s *profile.Status) string {
	switch n := len(s.Missing); {
	case s.Mode >= profile.Restrict:
		return "-"
	case n == 0:
		return fmt.Sprintf("%s, complete enough", s.Next)
	case n == 1:
		return fmt.Sprintf("%s, not yet: %s", s.Next, s.Missing[0])
	default:
		return fmt.Sprintf("%s, not yet: %s (and %d more, see --json)", s.Next, s.Missing[0], n-1)
	}
}

// isFile reports whether a name means a file that was exported. A folder that is named like a
// workload does not hide it.
func isFile(name string) bool {
	fi, err := os.Stat(name)
	return err == nil && !fi.IsDir()
}

// document fetches a profile from the running agent, or reads it from a file.
func (e *env) document(ctx context.Context, name string) (*profile.Document, error) {
	if isFile(name) {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		d, err := profile.ReadDocument(f)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return d, nil
	}
	var raw json.RawMessage
	if err := e.ask(ctx, "GET", "/profile?workload="+url.QueryEscape(name), &raw); err != nil {
		return nil, err
	}
	return profile.ReadDocument(bytes.NewReader(raw))
}

func (e *env) profile(ctx context.Context, name string) (*profile.Profile, error) {
	d, err := e.document(ctx, name)
	if err != nil {
		return nil, err
	}
	return d.Profile("")
}

func newProfileShowCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "show WORKLOAD", Short: "a profile and what is missing from it", Args: workloadArgument(1, "a WORKLOAD or a FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := e.document(c.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s\n%s\n", terminal.Clean(d.Workload, 0), terminal.Clean(d.Sentence, 0))
			if !isFile(args[0]) { // the running agent says what it would hold
				var h agent.Held
				if err := e.ask(c.Context(), "GET", "/profile/held?workload="+url.QueryEscape(args[0]), &h); err != nil {
					return err
				}
				printHeld(e.stdout, &h)
			}
			fmt.Fprintln(e.stdout)
			tw := tabwriter.NewWriter(e.stdout, 0, 4, 2, ' ', 0)
			for _, r := range d.Entries {
				fmt.Fprintf(tw, "%s\t%s\n", r.Category, terminal.Clean(r.Entry.String(), 120))
			}
			return tw.Flush()
		},
	}
}

// printHeld says what mode restrict means for a workload on this host.
func printHeld(w io.Writer, h *agent.Held) {
	guards := terminal.Clean(h.Enforced, 300)
	if guards == "" {
		guards = "nothing"
	}
	if h.Mode == profile.Restrict.String() {
		fmt.Fprintf(w, "Mode restrict; enforced: %s\n", guards)
	} else {
		fmt.Fprintf(w, "Mode %s; restrict would enforce: %s\n", terminal.Clean(h.Mode, 30), guards)
	}
	for _, p := range h.Peers {
		fmt.Fprintf(w, "- %s %s\n", terminal.Clean(p.Workload, 300), whereIs(p))
	}
	for _, o := range h.ReportedOnly {
		fmt.Fprintf(w, "- reported only: %s\n", terminal.Clean(o, 300))
	}
}

// whereIs says where a workload is that a profile names.
func whereIs(p agent.HeldPeer) string {
	const most = 8
	if p.Unknown {
		return "is somewhere in the cluster, which has not said yet where"
	}
	if len(p.Addresses) == 0 {
		return "has no address known here now: nothing of it can be reached, nor reach the workload, in mode restrict"
	}
	var list []string
	for _, a := range p.Addresses[:min(len(p.Addresses), most)] {
		s := a.String()
		if slices.Contains(p.Shared, a) {
			s += " (claimed by other workloads, too)"
		}
		list = append(list, s)
	}
	if n := len(p.Addresses) - most; n > 0 {
		list = append(list, fmt.Sprintf("%d more", n))
	}
	return "at " + strings.Join(list, ", ")
}

func newProfileExportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "export WORKLOAD", Short: "print a profile as JSON", Args: workloadArgument(1, "a WORKLOAD"),
		RunE: func(c *cobra.Command, args []string) error {
			d, err := e.document(c.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = d.WriteTo(e.json())
			return err
		},
	}
}

func newProfileImportCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "import FILE", Short: "merge an exported profile into the running agent's; its mode stays", Args: workloadArgument(1, "a FILE"),
		RunE: func(c *cobra.Command, args []string) error {
			b, err := os.ReadFile(args[0])
			if err != nil {
				return usageError(err)
			}
			// What is no profile is refused here, with the name of the file.
			if _, err := profile.ReadDocument(bytes.NewReader(b)); err != nil {
				return usageError(fmt.Errorf("%s: %w", args[0], err))
			}
			var s profile.Status
			if err := e.send(c.Context(), "/profile/import", b, &s); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: %d things are known, mode %s\n", terminal.Clean(s.Workload, 0), s.Entries, s.Mode)
			return nil
		},
	}
}

func newProfileDiffCommand(e *env) *cobra.Command {
	return &cobra.Command{
		Use: "diff A B", Short: "what B does that A does not, and the other way round",
		Long: "Each of A and B is a WORKLOAD of the running agent or a FILE that was exported.\n\nExit codes: 0 no difference, 1 differences.",
		Args: workloadArgument(2, "two WORKLOADs or FILEs"),
		RunE: func(c *cobra.Command, args []string) error {
			a, err := e.profile(c.Context(), args[0])
			if err != nil {
				return err
			}
			b, err := e.profile(c.Context(), args[1])
			if err != nil {
				return err
			}
			ds := profile.Diff(a, b)
			for _, d := range ds {
				fmt.Fprintln(e.stdout, terminal.Clean(d.Text, 0))
			}
			if len(ds) > 0 {
				return &exitError{code: exitFindings}
			}
			fmt.Fprintln(e.stdout, "no difference")
			return nil
		},
	}
}

func newProfileModeCommand(e *env) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "mode WORKLOAD learn|observe|restrict", Short: "move a profile forward or back",
		Long: `Forward goes one step at a time and only past a stated completeness; a refusal says what
is missing. Back always works, at once.`,
		Args: workloadArgument(2, "a WORKLOAD and a mode"),
		RunE: func(c *cobra.Command, args []string) error {
			if _, err := profile.ParseMode(args[1]); err != nil {
				return usageError(err)
			}
			q := url.Values{"workload": {args[0]}, "to": {args[1]}, "why": {why}, "by": {e.person()}}
			var s profile.Status
			if err := e.ask(c.Context(), "POST", "/profile/mode?"+q.Encode(), &s); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: mode %s\n", terminal.Clean(s.Workload, 0), s.Mode)
			return nil
		},
	}
	c.Flags().StringVar(&why, "why", "by command", "the `REASON`, kept with the profile")
	return c
}

func newProfileResetCommand(e *env) *cobra.Command {
	var why string
	c := &cobra.Command{
		Use: "reset WORKLOAD [CATEGORY]...", Short: "forget what was learned, and learn anew",
		Long: `Forgets what was learned in the CATEGORIES, or all of it when none is named; what people
allowed and forbade stays. The profile goes back to learn at once, and a restriction is
lifted. It is the way out for a category that is too varied to be learned (saturated).`,
		Example: "  bollwerk-agent profile reset web executable --why 'flooded by a broken updater, mended'",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError(fmt.Errorf("`%s` wants a WORKLOAD; see `%[1]s --help`", c.CommandPath()))
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			if why == "" {
				return usageError(errors.New("--why is missing: what was learned is gone afterwards, and somebody will ask"))
			}
			for _, a := range args[1:] {
				if _, err := profile.ParseCategory(a); err != nil {
					return usageError(err)
				}
			}
			q := url.Values{"workload": args[:1], "category": args[1:], "why": {why}, "by": {e.person()}}
			var s profile.Status
			if err := e.ask(c.Context(), "POST", "/profile/reset?"+q.Encode(), &s); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: mode %s, %d things are known\n", terminal.Clean(s.Workload, 0), s.Mode, s.Entries)
			return nil
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, kept with the profile (required)")
	return c
}

// person who gave a command, for the record.
func (e *env) person() string {
	for _, v := range []string{"SUDO_USER", "USER", "LOGNAME"} {
		if p := e.getenv(v); p != "" {
			return p
		}
	}
	return fmt.Sprintf("uid %d", os.Getuid())
}

func newProfileEditCommand(e *env, what string) *cobra.Command {
	var why string
	short := "declare a behaviour normal"
	if what == "forbid" {
		short = "declare a behaviour a deviation in every mode"
	}
	c := &cobra.Command{
		Use: what + " WORKLOAD CATEGORY VALUE", Short: short,
		Long:    "CATEGORY and VALUE are written as `profile show` prints them.",
		Example: fmt.Sprintf("  bollwerk-agent profile %s web executable /usr/bin/curl --why 'the new health check'", what),
		Args:    workloadArgument(3, "a WORKLOAD, a CATEGORY and a VALUE"),
		RunE: func(c *cobra.Command, args []string) error {
			if why == "" {
				return usageError(errors.New("--why is missing: an edit without a reason helps nobody later"))
			}
			category, err := profile.ParseCategory(args[1])
			if err == nil {
				_, err = profile.ParseEntry(category, args[2])
			}
			if err != nil {
				return usageError(err)
			}
			q := url.Values{"workload": {args[0]}, "category": {args[1]}, "value": {args[2]}, "why": {why}, "by": {e.person()}}
			if what == "forbid" {
				q.Set("forbid", "true")
			}
			var s profile.Status
			if err := e.ask(c.Context(), "POST", "/profile/edit?"+q.Encode(), &s); err != nil {
				return err
			}
			fmt.Fprintf(e.stdout, "%s: %d things are known\n", terminal.Clean(s.Workload, 0), s.Entries)
			return nil
		},
	}
	c.Flags().StringVar(&why, "why", "", "the `REASON`, kept with the profile (required)")
	return c
}

func newProfileRenderCommand(e *env) *cobra.Command {
	var o profile.SeccompOptions
	c := &cobra.Command{
		Use: "render WORKLOAD seccomp|capabilities|security-context|restriction", Short: "turn a profile into something others enforce",
		Long: `seccomp is a profile for runc, Docker (--docker) or Kubernetes; capabilities a list for the
OCI run-time configuration; security-context a part of a pod; restriction what the agent
itself enforces in mode restrict.`,
		Args: workloadArgument(2, "a WORKLOAD or FILE, and what to make of it"),
		RunE: func(c *cobra.Command, args []string) error {
			// Before the agent is asked: what is meant is wrong in any case.
			if !slices.Contains([]string{"seccomp", "capabilities", "security-context", "restriction"}, args[1]) {
				return usageError(fmt.Errorf("%q: want seccomp, capabilities, security-context or restriction", args[1]))
			}
			if !slices.Contains([]string{"errno", "log", "kill"}, o.Default) {
				return usageError(fmt.Errorf("--default %q: want errno, log or kill", o.Default))
			}
			p, err := e.profile(c.Context(), args[0])
			if err != nil {
				return err
			}
			var out []byte
			switch args[1] {
			case "seccomp":
				var notes []string
				if out, notes, err = p.Seccomp(o); err != nil {
					return err
				}
				for _, n := range notes {
					e.print(n)
				}
			case "capabilities":
				out, err = p.OCICapabilities()
			case "security-context":
				var s string
				s, err = p.SecurityContext("")
				out = []byte(s)
			case "restriction":
				out, err = json.MarshalIndent(p.Restriction(), "", "  ")
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.json(), string(bytes.TrimRight(out, "\n")))
			return err
		},
	}
	c.Flags().StringVar(&o.Default, "default", "errno", "what happens to calls that are not listed: errno, log, kill")
	c.Flags().BoolVar(&o.Docker, "docker", false, "in Docker's dialect")
	return c
}
