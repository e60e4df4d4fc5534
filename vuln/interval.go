package vuln

// order compares two versions of one ecosystem: negative, zero or positive. An
// error means that one of them is no version there.
type order func(a, b string) (int, error)

// state is what a range says about a version.
type state uint8

const (
	unaffected state = iota
	affected
	unknown // could not be decided; never a finding, never a pass
)

// inEvents evaluates one range as the OSV schema describes
// (https://ossf.github.io/osv-schema/#evaluation): the last event at or below the
// version decides. What the schema leaves open is decided here:
//
//   - events may come in any order; they are sorted;
//   - the version "0" of introduced and fixed lies before every version;
//   - events at the same version cancel out: a range that is introduced and fixed at
//     the same version is empty, and one that ends where the next begins goes on;
//   - last_affected is a fixed that lies just behind its version.
//
// events is scratch: it is reordered.
func inEvents(cmp order, version string, events []Event) (bool, error) {
	// By far the most common shape, and the hot path: introduced 0, fixed x.
	if len(events) == 2 && events[0].Kind == Introduced && events[0].Version == "0" && events[1].Kind == Fixed && events[1].Version != "0" {
		c, err := cmp(version, events[1].Version)
		return c < 0, err
	}
	limits := 0
	for _, e := range events {
		if e.Kind == Limit {
			limits++
		}
	}
	if limits > 0 {
		ok, err := belowLimit(cmp, version, events)
		if !ok || err != nil {
			return false, err
		}
	}
	if err := sortEvents(cmp, events); err != nil {
		return false, err
	}
	in := false
	for i := 0; i < len(events); {
		here := events[i].Version
		if !atStart(events[i]) {
			c, err := cmp(version, here)
			if err != nil {
				return false, err
			}
			if c < 0 {
				break
			}
		}
		opens, closes, lasts := 0, 0, 0
		j := i
		for ; j < len(events); j++ {
			same, err := sameEvent(cmp, events[i], events[j])
			if err != nil {
				return false, err
			}
			if !same {
				break
			}
			switch events[j].Kind {
			case Introduced:
				opens++
			case Fixed:
				closes++
			case LastAffected:
				lasts++
			}
		}
		before := in
		// The state at this very version, then the one behind it.
		at := balance(before, opens, closes)
		if lasts > 0 && (before || opens > 0) && closes == 0 {
			at = true
		}
		if !atStart(events[i]) {
			if c, err := cmp(version, here); err != nil {
				return false, err
			} else if c == 0 {
				return at, nil
			}
		}
		in = balance(before, opens, closes+lasts)
		i = j
	}
	return in, nil
}

func balance(before bool, opens, closes int) bool {
	switch {
	case opens > closes:
		return true
	case closes > opens:
		return false
	}
	return before
}

// atStart reports whether an event lies before every version.
func atStart(e Event) bool { return e.Version == "0" && (e.Kind == Introduced || e.Kind == Fixed) }

func sameEvent(cmp order, a, b Event) (bool, error) {
	if atStart(a) || atStart(b) {
		return atStart(a) == atStart(b), nil
	}
	if a.Version == b.Version {
		return true, nil
	}
	c, err := cmp(a.Version, b.Version)
	return c == 0, err
}

// sortEvents is an insertion sort: the events of nearly every record are sorted
// already, which costs one comparison each, and it is
// stable. At most maxEvents events come here, so the worst case stays bounded.
func sortEvents(cmp order, events []Event) error {
	for i := 1; i < len(events); i++ {
		for j := i; j > 0; j-- {
			less, err := eventLess(cmp, events[j], events[j-1])
			if err != nil {
				return err
			}
			if !less {
				break
			}
			events[j], events[j-1] = events[j-1], events[j]
		}
	}
	return nil
}

func eventLess(cmp order, a, b Event) (bool, error) {
	switch {
	case atStart(a):
		return !atStart(b), nil
	case atStart(b):
		return false, nil
	case a.Version == b.Version:
		return false, nil
	}
	c, err := cmp(a.Version, b.Version)
	return c < 0, err
}

func belowLimit(cmp order, version string, events []Event) (bool, error) {
	for _, e := range events {
		if e.Kind != Limit {
			continue
		}
		if e.Version == "*" {
			return true, nil
		}
		c, err := cmp(version, e.Version)
		if err != nil {
			return false, err
		}
		if c < 0 {
			return true, nil
		}
	}
	return false, nil
}
