package history

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"nudge/internal/counted"
)

// state is what the state file holds: how many rows of which file, by which mapping, are done.
type state struct {
	Head    string `json:"head"`
	Mapping string `json:"mapping"`
	Row     int64  `json:"row"`
}

// saveEvery is how often the state is written while an import runs.
const saveEvery = time.Second

func (i *importer) loadState(head []byte) error {
	i.state = state{Head: hashOf(head), Mapping: i.o.Mapping.hash}
	if i.o.State == "" {
		return nil
	}
	data, err := os.ReadFile(i.o.State)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("import: read the state file: %w", err)
	}
	var was state
	if err := json.Unmarshal(data, &was); err != nil {
		return fmt.Errorf("import: the state file %s is damaged (%w): delete it and import again, nothing is doubled", i.o.State, err)
	}
	if was.Head == i.state.Head && was.Mapping == i.state.Mapping {
		i.state.Row = was.Row // of another file, or by another mapping, it says nothing
	}
	i.appended.Store(i.state.Row)
	return nil
}

func (i *importer) saveNow() error {
	if now := i.o.Now(); now.Sub(i.saved) >= saveEvery {
		i.saved = now
		return i.save()
	}
	return nil
}

// save replaces the state file at once, so that it is never half written.
func (i *importer) save() error {
	if i.o.State == "" {
		return nil
	}
	s := i.state
	s.Row = max(s.Row, i.appended.Load())
	data, err := json.Marshal(s)
	if err == nil {
		next := i.o.State + ".new"
		if err = os.WriteFile(next, append(data, '\n'), 0o600); err == nil {
			err = os.Rename(next, i.o.State)
		}
	}
	if err != nil {
		return fmt.Errorf("import: write the state file: %w", err)
	}
	return nil
}

// note writes a line of progress: rows, rows a second, share of the file, time left.
func (i *importer) note(last bool) {
	now := i.o.Now()
	if i.o.Progress == nil || !last && now.Sub(i.noted) < time.Second {
		return
	}
	i.noted = now
	took := max(now.Sub(i.start).Seconds(), 0.001)
	share := 1.0
	if i.size > 0 {
		share = min(float64(i.read.n.Load())/float64(i.size), 1)
	}
	line := fmt.Sprintf("%s, %.0f rows/s, %.0f %% of the file, %s, %d rejected",
		counted.Of(i.result.Rows+i.result.Resumed, "row"), float64(i.result.Rows+i.result.Resumed)/took, 100*share, counted.Of(i.result.Events, "event"), i.result.Rejected)
	if last {
		line += fmt.Sprintf(", took %s", time.Duration(took*float64(time.Second)).Round(100*time.Millisecond))
	} else if share > 0.01 {
		line += fmt.Sprintf(", about %s left", time.Duration(took*(1-share)/share*float64(time.Second)).Round(time.Second))
	}
	_, _ = fmt.Fprintln(i.o.Progress, line)
}
