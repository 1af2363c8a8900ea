package main

import "github.com/spf13/cobra"

// commands lists every command.
func commands(s streams) []*cobra.Command {
	return []*cobra.Command{
		checkCommand(s),
		demoCommand(s),
		reportCommand(s),
		serveCommand(s),
		testCommand(s),
	}
}
