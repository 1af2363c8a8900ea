// Package memory is a store for a history that is small and soon forgotten, such as that of rule tests: the
// rows that the identity writer writes to the tables of events/clickhouse, in the memory of this process.
// The planner reads it by the same questions (segments/plan), so that answers are those of the tables.
package memory

import (
	"slices"
	"sync"

	"nudge/events"
)

// Rows are the rows of the tables that conditions read. See events/clickhouse/ddl/0001_history.sql for what
// each means; times are Unix milliseconds.
type Rows struct {
	Events   []*events.Resolved // the kinds that the table of events keeps
	Traits   []Trait
	Devices  []Device
	Consents []Consent
	Zones    []Zone
	Fixes    []Fix
	IDs      []ID
	Merges   []Merge
	Erasures []Erasure
}

// Stamp is whom a row is about, and when: Person is the canonical one when the row was written.
type Stamp struct {
	Person events.PersonID
	Pos    events.Position
	Time   int64
}

// The rows.
type (
	// Trait is what an identify call said; Value is JSON, null where it was taken back.
	Trait struct {
		Stamp
		Key, Value string
	}
	// Device is a push token that was seen or removed.
	Device struct {
		Stamp
		events.DeviceChange
	}
	// Consent is one that was given or withdrawn.
	Consent struct {
		Stamp
		events.ConsentChange
	}
	// Zone is a time zone in which a device of the person was, by its IANA name, and the locale that it was set to;
	// either may be "".
	Zone struct {
		Stamp
		Name, Locale string
	}
	// Fix is where a device of the person was.
	Fix struct {
		Stamp
		events.Fix
	}
	// ID is one that a person was first named by.
	ID struct {
		Stamp
		Kind, ID string // Kind: user, anonymous
	}
	// Merge says that Person, from now on, is Winner.
	Merge struct {
		Stamp
		Winner events.PersonID
	}
	// Erasure says that what came of Person up to Pos is to be forgotten.
	Erasure struct{ Stamp }
)

// Store holds rows. It is safe for concurrent use; the zero Store is empty.
type Store struct {
	mu   sync.RWMutex
	rows Rows
	dues []Due
}

// Due is an instant (At, Unix ms) at which a condition may turn by itself for a person, or for one of their values.
type Due struct {
	Condition string // its hash
	At        int64
	Person    events.PersonID
	Value     string
	Pos       events.Position // up to which was read when it was found
}

// Add adds rows, which must not be changed afterwards. Rows come in the order of positions.
func (s *Store) Add(r Rows) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows.Events = append(s.rows.Events, r.Events...)
	s.rows.Traits = append(s.rows.Traits, r.Traits...)
	s.rows.Devices = append(s.rows.Devices, r.Devices...)
	s.rows.Consents = append(s.rows.Consents, r.Consents...)
	s.rows.Zones = append(s.rows.Zones, r.Zones...)
	s.rows.Fixes = append(s.rows.Fixes, r.Fixes...)
	s.rows.IDs = append(s.rows.IDs, r.IDs...)
	s.rows.Merges = append(s.rows.Merges, r.Merges...)
	s.rows.Erasures = append(s.rows.Erasures, r.Erasures...)
}

// AddDues adds dues; what is there already is there once.
func (s *Store) AddDues(dues []Due) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range dues {
		same := func(x Due) bool {
			return x.Condition == d.Condition && x.At == d.At && x.Person == d.Person && x.Value == d.Value
		}
		if i := slices.IndexFunc(s.dues, same); i >= 0 {
			s.dues[i].Pos = max(s.dues[i].Pos, d.Pos)
			continue
		}
		s.dues = append(s.dues, d)
	}
}

// Read returns the rows and dues there are now. They must not be changed.
func (s *Store) Read() (Rows, []Due) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rows, slices.Clone(s.dues)
}
