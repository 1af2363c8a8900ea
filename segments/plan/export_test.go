package plan

// What a planner of tests can be made to overlook.
const (
	Merges     = ofMerges
	App        = ofApp
	Messages   = ofMessages
	Identifies = ofIdentify
	Anything   = ofAnything
	IDs        = ofIDs
	UserIDs    = ofUserIDs
	Zones      = ofZones
	Fixes      = ofFixes
	Dues       = ofDues
	Older      = ofOlder
	Ahead      = ofAhead
)

// Overlook breaks the planner: what arrives of a stream, or (crosses) becomes as old as age does, is not
// seen. A negative age is any.
func (p *Planner) Overlook(of streamOf, crosses bool, age int64) *Planner {
	p.overlooks = func(s stream, at int64) bool {
		return s.of == of && crosses == (at >= 0) && (age < 0 || age == at)
	}
	return p
}
