package main

import "github.com/spf13/cobra"

// commands lists every command.
func commands(s streams) []*cobra.Command {
	return []*cobra.Command{
		backtestCommand(s),
		broadcastCommand(s),
		channelsCommand(s),
		checkCommand(s),
		demoCommand(s),
		explainCommand(s),
		fmtCommand(s),
		importCommand(s),
		initCommand(s),
		migrateCommand(s),
		pauseCommand(s),
		planCommand(s),
		reportCommand(s),
		resumeCommand(s),
		schemaCommand(s),
		sendCommand(s),
		serveCommand(s),
		sqlCommand(s),
		testCommand(s),
		versionCommand(s),
	}
}
