package main

import (
	"bufio"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// machine is what the figures were measured on.
type machine struct {
	CPU      string            `json:"cpu"`
	Cores    int               `json:"cores"`
	MemoryGB float64           `json:"memory_gb"`
	Kernel   string            `json:"kernel"`
	Go       string            `json:"go"`
	Load     string            `json:"load_at_start"`
	At       time.Time         `json:"at"`
	Versions map[string]string `json:"versions"`
}

// libraries whose versions matter to the figures.
var libraries = map[string]string{
	"github.com/nats-io/nats-server/v2":      "nats-server",
	"github.com/ClickHouse/clickhouse-go/v2": "clickhouse-go",
	"github.com/expr-lang/expr":              "expr",
	"github.com/sideshow/apns2":              "apns2",
}

func thisMachine() machine {
	m := machine{
		CPU: field("/proc/cpuinfo", "model name"), Cores: runtime.NumCPU(), Kernel: firstLine("/proc/sys/kernel/osrelease"),
		Go: runtime.Version(), Load: load(), At: time.Now().UTC().Truncate(time.Second), Versions: map[string]string{},
	}
	if kb, err := strconv.ParseFloat(strings.TrimSuffix(field("/proc/meminfo", "MemTotal"), " kB"), 64); err == nil {
		m.MemoryGB = kb / (1 << 20)
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, dep := range info.Deps {
			if name, wanted := libraries[dep.Path]; wanted {
				m.Versions[name] = dep.Version
			}
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				m.Versions["nudge"] = s.Value
			}
		}
	}
	return m
}

// load is the load average of the last minute, as the kernel writes it; "?" where there is none.
func load() string {
	one, _, _ := strings.Cut(firstLine("/proc/loadavg"), " ")
	if one == "" {
		return "?"
	}
	return one
}

func firstLine(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}

// field is the value of "name : value" in a file of such lines.
func field(path, name string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close() //nolint:errcheck // read only
	for s := bufio.NewScanner(f); s.Scan(); {
		if key, value, ok := strings.Cut(s.Text(), ":"); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
