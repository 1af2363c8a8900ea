package main

import (
	"fmt"
	"io"
	"os"
	"strings"
)

// progressBar shows how far something has come: on one line of a terminal, or, in a log, in a line for each
// tenth.
type progressBar struct {
	out   io.Writer
	lines bool
	last  string
	begun bool
}

func newProgressBar(s streams) *progressBar {
	return &progressBar{out: s.err, lines: !isTerminal(s.err)}
}

// show shows a share, 0 to 1, of a phase.
func (b *progressBar) show(phase string, share float64, where string) {
	const width, tenths = 30, 10
	done := int(share * width)
	line := fmt.Sprintf("%-8s %s%s %s", phase, strings.Repeat("█", done), strings.Repeat("░", width-done), where)
	if b.lines {
		if tenth := fmt.Sprint(phase, int(share*tenths)); tenth != b.last {
			b.last = tenth
			fmt.Fprintln(b.out, line)
		}
		return
	}
	if line == b.last {
		return
	}
	b.last, b.begun = line, true
	fmt.Fprintf(b.out, "\r%-90s", line)
}

func (b *progressBar) end() {
	if b.begun {
		fmt.Fprintf(b.out, "\r%-90s\r", "")
	}
}

// isTerminal says whether a person watches w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
