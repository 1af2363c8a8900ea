package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/events/clickhouse"
)

func migrateCommand(s streams) *cobra.Command {
	var show bool
	var cluster string
	var in folderOption
	cmd := &cobra.Command{
		Use:   "migrate [DIR]",
		Short: "Makes the store's tables, or brings them up to date",
		Long: `Applies the migrations that the workspace's ClickHouse does not have yet, and the retention that
nudge.yaml says. serve does the same when it starts; this is for doing it beforehand, or with other
rights. Run again, it changes nothing.

--print prints the statements and touches nothing. --cluster takes the form for a cluster instead
of nudge.yaml's: Replicated tables ON CLUSTER behind Distributed ones. That form is parsed by tests,
but was not run on a cluster.`,
		Example: "  nudge migrate examples/shop\n  nudge migrate --print --cluster main examples/shop > tables.sql",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := in.of(args)
			if err != nil {
				return err
			}
			// Printing needs neither the store nor its password.
			ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSecrets: show, WithoutSending: true})
			if err != nil {
				return err
			}
			layout := clickhouse.Layout{Cluster: ws.Store.Cluster, Retention: ws.Retention}
			if cluster != "" {
				layout.Cluster = cluster
			}
			if show {
				return failed(layout.WriteSQL(s.out))
			}
			return failed(migrate(cmd.Context(), s, ws, layout))
		},
	}
	in.on(cmd)
	cmd.Flags().BoolVar(&show, "print", false, "print the statements instead of running them")
	cmd.Flags().StringVar(&cluster, "cluster", "", "name of a ClickHouse cluster to make the tables on")
	return cmd
}

func migrate(ctx context.Context, s streams, ws *workspace.Workspace, layout clickhouse.Layout) (err error) {
	store, err := app.OpenStore(ctx, ws, slog.New(slog.NewTextHandler(s.err, nil)))
	if err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx, layout); err != nil {
		return err //nolint:wrapcheck // says what it was doing
	}
	var versions []struct {
		Version uint32 `ch:"version"`
		Name    string `ch:"name"`
	}
	if err := store.Conn().Select(ctx, &versions, "SELECT DISTINCT version, name FROM schema_migrations ORDER BY version DESC LIMIT 1"); err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	for _, v := range versions {
		fmt.Fprintf(s.out, "The tables of database %s are up to date: %04d_%s.\n", store.Database(), v.Version, v.Name)
	}
	return nil
}
