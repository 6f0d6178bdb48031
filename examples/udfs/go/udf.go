// The functions of all the examples, in Go.
package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"millstream"
)

type Number struct{ N int64 }

func score(in Number) (int64, error) { return in.N*3 + 1, nil }

type Email struct{ Email string }

func emailDomain(in Email) (*string, error) {
	_, domain, found := strings.Cut(in.Email, "@")
	if !found {
		return nil, nil
	}
	return &domain, nil
}

// --- a table: rows for each row ---

type Text struct{ Text string }

type Word struct {
	Word     string
	Position int32
}

func words(in Text) (words []Word, _ error) {
	for word := range strings.SplitSeq(in.Text, " ") {
		if word != "" {
			words = append(words, Word{word, int32(len(words) + 1)})
		}
	}
	return words, nil
}

// --- an aggregate: a value for a group of rows ---

// How often each number came.
type Mode struct{ Counts map[int64]uint64 }

func (m *Mode) add(n int64, count uint64) {
	if m.Counts == nil {
		m.Counts = map[int64]uint64{}
	}
	m.Counts[n] += count
}

func (m *Mode) Update(in Number) error {
	m.add(in.N, 1)
	return nil
}

func (m *Mode) Retract(in Number) error {
	if m.Counts[in.N] > 1 {
		m.Counts[in.N]--
	} else {
		delete(m.Counts, in.N)
	}
	return nil
}

func (m *Mode) Merge(other *Mode) error {
	for n, count := range other.Counts {
		m.add(n, count)
	}
	return nil
}

// The least of those that came most often.
func (m *Mode) Finish() (*int64, error) {
	if len(m.Counts) == 0 {
		return nil, nil
	}
	most := slices.MinFunc(slices.Collect(maps.Keys(m.Counts)), func(a, b int64) int {
		return cmp.Or(cmp.Compare(m.Counts[b], m.Counts[a]), cmp.Compare(a, b))
	})
	return &most, nil
}

// --- NULL, a default, what fails, what the pipeline file has ---

type Texts struct {
	First, Second *string
	Otherwise     *string `default:"'?'"`
}

func firstOf(in Texts) (*string, error) { return cmp.Or(in.First, in.Second, in.Otherwise), nil }

func half(in Number) (int64, error) {
	if in.N%2 != 0 {
		return 0, fmt.Errorf("%d is odd", in.N)
	}
	return in.N / 2, nil
}

func greeting(struct{}) (*string, error) {
	millstream.Log(millstream.Debug, "greets")
	return millstream.Config("greeting"), nil
}

// --- a type after the other ---

type All struct {
	Truth  *bool
	Tiny   *int8
	Small  *uint16
	Large  *uint64
	Real   *float32
	Double *float64
	Bytes  *[]byte
	Json   *millstream.Json
	Date   *millstream.Date
	Time   *millstream.Time
	Local  *millstream.Timestamp
	Zoned  *millstream.TimestampTz
	Price  *millstream.Decimal `sql:"decimal(20, 4)"`
	Tags   *[]*string
	Nested *[]*[]*int32
}

// Reads each type, and writes it as it was.
func same(in struct{ All *All }) (*All, error) { return in.All, nil }

func init() {
	millstream.Scalar("score", score)
	millstream.Scalar("email_domain", emailDomain)
	millstream.Table("words", words)
	millstream.Aggregate[*Mode]("mode")
	millstream.Scalar("first_of", firstOf)
	millstream.Scalar("half", half)
	millstream.Scalar("greeting", greeting, millstream.Volatile)
	millstream.Scalar("same", same)
}

func main() {}
