package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"nudge/engine/workspace"
	"nudge/events/clickhouse"
)

func sqlCommand(s streams) *cobra.Command {
	var dir, format string
	cmd := &cobra.Command{
		Use:   "sql QUERY",
		Short: "Runs a query that only reads on the store",
		Long: `Runs one query on the workspace's ClickHouse, a server's or the embedded one, and prints the result.
Only queries that read are let through: SELECT, WITH, SHOW, DESCRIBE, EXPLAIN, EXISTS. It may run
beside a running serve. With "-" the query is read from standard input.

The tables and what their columns mean: nudge sql "SHOW TABLES", nudge sql "DESCRIBE events".`,
		Example: `  nudge sql --dir examples/shop "SELECT event, count() FROM events GROUP BY event ORDER BY 2 DESC"
  nudge sql --dir examples/shop --format csv "SELECT rule, reason, count() FROM decisions GROUP BY ALL"
  nudge sql - --format json < query.sql`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return fmt.Errorf("the argument is one query, in quotes, not %d; the workspace is --dir", len(args))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains(clickhouse.Formats(), format) {
				return fmt.Errorf("--format is %s, not %q", strings.Join(clickhouse.Formats(), ", "), format)
			}
			query := args[0]
			if query == "-" {
				text, err := io.ReadAll(s.in)
				if err != nil {
					return failed(fmt.Errorf("read the query: %w", err))
				}
				query = string(bytes.TrimSpace(text))
			}
			if m := formatClause.FindStringSubmatch(query); m != nil && !slices.Contains([]string{"asc", "desc"}, strings.ToLower(m[1])) {
				return fmt.Errorf("leave FORMAT %s out of the query; how the result is printed is --format: %s", m[1], strings.Join(clickhouse.Formats(), ", "))
			}
			return runSQL(cmd.Context(), s.as(format), dir, query, format)
		},
	}
	cmd.Flags().StringVar(&dir, "dir", ".", "the workspace")
	cmd.Flags().StringVar(&format, "format", "table", strings.Join(clickhouse.Formats(), ", "))
	return cmd
}

// formatClause is ClickHouse's own way to say how a result is printed, at the end of a query.
var formatClause = regexp.MustCompile(`(?i)\sformat\s+(\w+)\s*;?\s*$`)

func runSQL(ctx context.Context, s streams, dir, query, format string) error {
	ws, err := loadWorkspace(s, dir, workspace.Options{WithoutSending: true})
	if err != nil {
		return err
	}
	return withStore(ctx, ws, func(store *clickhouse.Store) error {
		return failed(store.SQL(ctx, query, s.out, format))
	})
}
