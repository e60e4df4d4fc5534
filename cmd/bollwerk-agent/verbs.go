package main

import "github.com/spf13/cobra"

// verbs lists every verb of the command line, in the order of the help.
func verbs(e *env) []*cobra.Command {
	return []*cobra.Command{
		newRunCommand(e),
		newDoctorCommand(e),
		newStatusCommand(e),
		newRecallCommand(e),
		newRulesCommand(e),
		newProfileCommand(e),
		newReleaseCommand(e),
	}
}
