package main

import "github.com/spf13/cobra"

// commands lists every command.
func commands(s streams) []*cobra.Command {
	return []*cobra.Command{
		channelsCommand(s),
		checkCommand(s),
		demoCommand(s),
		explainCommand(s),
		importCommand(s),
		initCommand(s),
		migrateCommand(s),
		pauseCommand(s),
		reportCommand(s),
		resumeCommand(s),
		schemaCommand(s),
		serveCommand(s),
		sqlCommand(s),
		testCommand(s),
		versionCommand(s),
	}
}
