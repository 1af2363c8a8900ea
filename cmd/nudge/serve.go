package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"

	"nudge/channels/all"
	"nudge/engine/app"
	"nudge/engine/workspace"
	"nudge/rules"
)

func serveCommand(s streams) *cobra.Command {
	var listen, level string
	var ws folderOption
	cmd := &cobra.Command{
		Use:   "serve [DIR]",
		Short: "Runs it all: takes in events, decides, sends",
		Long: `Opens the workspace, takes in events over HTTP, runs the rules on their schedules and on arrivals,
and sends. Send it SIGHUP, or save a file, and the rules are read again; when one of the files is
wrong, the running rules stay and the findings are logged.`,
		Example: "  nudge serve examples/shop\n  nudge serve --listen 0.0.0.0:8080 /etc/nudge",
		RunE: func(cmd *cobra.Command, args []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log is debug, info, warn or error, not %q", level)
			}
			log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: l}))
			dir, err := ws.of(args)
			if err != nil {
				return err
			}
			if _, _, err := net.SplitHostPort(listen); listen != "" && err != nil {
				return fmt.Errorf("--listen is an address with a port, 127.0.0.1:8080 or :8080, not %q", listen)
			}
			return serve(cmd.Context(), s, dir, listen, log)
		},
	}
	ws.on(cmd)
	cmd.Flags().StringVar(&listen, "listen", "", "address to listen on, instead of nudge.yaml's")
	cmd.Flags().StringVar(&level, "log", "info", "least level that is logged: debug, info, warn or error")
	return cmd
}

func serve(ctx context.Context, s streams, dir, listen string, log *slog.Logger) (err error) {
	ws, err := loadWorkspace(s, dir, workspace.Options{})
	if err != nil {
		return err
	}
	if listen == "" {
		listen = ws.Listen
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", listen)
	if err != nil {
		return failed(fmt.Errorf("listen on %s: %w", listen, err))
	}
	defer l.Close() //nolint:errcheck // it is closed by serving, too
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	host, _ := os.Hostname() // only a name for others to read
	a, err := app.Open(ctx, app.Options{
		Workspace: ws, Now: time.Now, Logger: log, Registerer: reg, Stdout: s.out, Owner: fmt.Sprintf("%s/%d", host, os.Getpid()),
		Runnable: app.RunnableGoroutines(),
	})
	if err != nil {
		return failed(err)
	}
	defer func() { err = errors.Join(err, failed(a.Close())) }()
	log.Info("nudge is up", "listen", l.Addr().String(), "workspace", ws.Dir, "rules", len(ws.Rules))
	go reload(ctx, a, dir, log)
	return failed(a.Run(ctx, l, reg))
}

// settleFor is how long a folder must be quiet after a change before it is read: editors write in
// several steps.
const settleFor = 300 * time.Millisecond

// reload reads the workspace again on SIGHUP and when a file changes.
func reload(ctx context.Context, a *app.App, dir string, log *slog.Logger) {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	changes := watch(ctx, dir, log)
	quiet := time.NewTimer(0)
	<-quiet.C
	right := true // the files, when they were last read
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
			quiet.Reset(settleFor)
			continue
		case <-quiet.C:
			was := right
			if right = reloadOnce(ctx, a, dir, log, false); right && !was {
				log.Info("the files are right again")
			}
		case <-hup:
			right = reloadOnce(ctx, a, dir, log, true)
		}
	}
}

// reloadOnce takes the files into use if they differ from those that run, or always: secrets that they
// name may have changed. It says whether they are in use now.
func reloadOnce(ctx context.Context, a *app.App, dir string, log *slog.Logger, always bool) bool {
	set, err := all.Set()
	if err != nil {
		log.Error("cannot list the adapters", "error", err)
		return false
	}
	ws, findings := workspace.Load(dir, workspace.Options{Adapters: set, Now: time.Now})
	if ws == nil {
		for _, f := range findings {
			if f.Severity == rules.Error {
				log.Error("the running rules stay: a file is wrong", "file", fmt.Sprintf("%s:%d:%d", f.File, f.Line, f.Col), "check", f.Check, "finding", f.Summary)
			}
		}
		return false
	}
	if !always && slices.Equal(ws.Sources, a.Workspace().Sources) {
		return true
	}
	if err := a.Reload(ctx, ws); err != nil {
		log.Error("the running rules stay: the new ones cannot be taken into use", "error", err)
		return false
	}
	log.Info("the rules were read again", "rules", len(ws.Rules), "hash", ws.Hash)
	return true
}
