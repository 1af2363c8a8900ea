package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of CPU times in /proc on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// process is a process whose CPU is counted.
type process struct {
	name string
	pid  int
}

// stat reads the fields of /proc/PID/stat behind the command's name.
func stat(pid int) ([]string, error) {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return nil, fmt.Errorf("read the CPU time of process %d (this needs Linux): %w", pid, err)
	}
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 22 {
		return nil, fmt.Errorf("read the CPU time of process %d: its stat has %d fields", pid, len(f))
	}
	return f, nil
}

// cpu is the processor time that the process has used, all threads, user and system.
func (p process) cpu() (time.Duration, error) {
	f, err := stat(p.pid)
	if err != nil {
		return 0, err
	}
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// rss is the memory that the process has resident, in megabytes; 0 when it cannot be read.
func (p process) rss() float64 {
	kb, err := strconv.ParseFloat(strings.TrimSuffix(field(fmt.Sprintf("/proc/%d/status", p.pid), "VmRSS"), " kB"), 64)
	if err != nil {
		return 0
	}
	return kb / 1024
}

// children are the processes that a process has started and that still run.
func children(parent int) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes (this needs Linux): %w", err)
	}
	var out []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f, err := stat(pid); err == nil && f[1] == strconv.Itoa(parent) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// meter counts the CPU of processes from one moment to another.
type meter struct {
	processes []process
	before    []time.Duration
	start     time.Time
}

func startMeter(ps ...process) (*meter, error) {
	m := &meter{processes: ps, start: time.Now()}
	for _, p := range ps {
		used, err := p.cpu()
		if err != nil {
			return nil, err
		}
		m.before = append(m.before, used)
	}
	return m, nil
}

// used is the CPU of each process since the start, by name; processes of one name are added up.
func (m *meter) used() (map[string]time.Duration, error) {
	out := map[string]time.Duration{}
	for i, p := range m.processes {
		now, err := p.cpu()
		if err != nil {
			return nil, err
		}
		out[p.name] += now - m.before[i]
	}
	return out, nil
}

// per is a duration divided among n things, in microseconds.
func per(d time.Duration, n int64) float64 {
	if n == 0 {
		return 0
	}
	return float64(d.Nanoseconds()) / float64(n) / 1000
}
