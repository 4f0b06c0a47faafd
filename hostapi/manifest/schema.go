package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/wasmta/wasmta/hostapi"
)

// Limits of a schema.
const (
	maxDepth    = 16  // schemas within each other
	maxSchemas  = 500 // in all
	maxEnum     = 256 // values
	maxPattern  = 512 // octets
	maxProblems = 5   // that one check reports
)

// Schema is the part of JSON Schema that is understood:
//
//	type                    one name or a list: object array string number integer boolean null
//	properties, required, additionalProperties (true, false or a schema)
//	items                   one schema for all elements
//	enum
//	minimum, maximum        inclusive
//	minLength, maxLength    characters
//	pattern                 RE2 syntax, found anywhere unless anchored
//
// title, description, default, examples, $schema, $id and $comment are read
// over. Any other keyword is an error: a rule that is not enforced would look
// like one that is. Numbers are compared as 64-bit floating point. The bounds
// are 16 schemas within each other and 500 in all.
type Schema struct {
	raw        json.RawMessage
	never      bool // the schema false
	types      []string
	properties map[string]*Schema
	required   []string
	additional *Schema
	items      *Schema
	enum       []any
	minimum    *float64
	maximum    *float64
	minLength  *int
	maxLength  *int
	pattern    *regexp.Regexp
}

// UnmarshalJSON reads a schema, an object.
func (s *Schema) UnmarshalJSON(b []byte) error {
	p := schemaParser{}
	parsed, err := p.parse(b, "config_schema", 0)
	if err != nil {
		return err
	}
	if parsed.never {
		return errors.New("config_schema: it allows nothing")
	}
	*s = *parsed
	s.raw = bytes.Clone(b)
	return nil
}

// MarshalJSON is the schema as it was read.
func (s *Schema) MarshalJSON() ([]byte, error) { return s.raw, nil }

type schemaParser struct{ count int }

func (p *schemaParser) parse(raw json.RawMessage, at string, depth int) (*Schema, error) {
	if p.count++; p.count > maxSchemas {
		return nil, fmt.Errorf("%s: there are more than %d schemas", at, maxSchemas)
	}
	if depth > maxDepth {
		return nil, fmt.Errorf("%s: schemas lie deeper in each other than %d", at, maxDepth)
	}
	s := &Schema{}
	switch string(bytes.TrimSpace(raw)) {
	case "true":
		return s, nil
	case "false":
		s.never = true
		return s, nil
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil || keys == nil {
		return nil, fmt.Errorf("%s: a schema must be an object", at)
	}
	for key, value := range keys {
		if err := p.keyword(s, key, value, at, depth); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (p *schemaParser) keyword(s *Schema, key string, value json.RawMessage, at string, depth int) (err error) {
	at += "." + hostapi.Printable(key)
	decode := func(v any) {
		if e := json.Unmarshal(value, v); e != nil || string(value) == "null" {
			err = fmt.Errorf("%s: it cannot be %.40s", at, value)
		}
	}
	switch key {
	case "title", "description", "default", "examples", "$schema", "$id", "$comment":
	case "type":
		if value[0] == '"' {
			s.types = make([]string, 1)
			decode(&s.types[0])
		} else {
			decode(&s.types)
		}
		for _, t := range s.types {
			if !slices.Contains([]string{"object", "array", "string", "number", "integer", "boolean", "null"}, t) {
				return fmt.Errorf("%s: there is no type %q", at, t)
			}
		}
		if err == nil && len(s.types) == 0 {
			return fmt.Errorf("%s: the list is empty", at)
		}
	case "properties":
		var list map[string]json.RawMessage
		if decode(&list); err != nil {
			return err
		}
		s.properties = make(map[string]*Schema, len(list))
		for name, raw := range list {
			if s.properties[name], err = p.parse(raw, at+"."+hostapi.Printable(name), depth+1); err != nil {
				return err
			}
		}
	case "required":
		decode(&s.required)
	case "additionalProperties":
		s.additional, err = p.parse(value, at, depth+1)
	case "items":
		s.items, err = p.parse(value, at, depth+1)
	case "enum":
		decode(&s.enum)
		if err == nil && (len(s.enum) == 0 || len(s.enum) > maxEnum) {
			return fmt.Errorf("%s: it must list 1 to %d values", at, maxEnum)
		}
	case "minimum":
		decode(&s.minimum)
	case "maximum":
		decode(&s.maximum)
	case "minLength":
		decode(&s.minLength)
	case "maxLength":
		decode(&s.maxLength)
	case "pattern":
		var text string
		if decode(&text); err != nil {
			return err
		}
		if len(text) > maxPattern {
			return fmt.Errorf("%s: it has more than %d octets", at, maxPattern)
		}
		if s.pattern, err = regexp.Compile(text); err != nil {
			return fmt.Errorf("%s: %w", at, err)
		}
	default:
		return fmt.Errorf("%s: this keyword is not understood; type, properties, required, additionalProperties, items, enum, "+
			"minimum, maximum, minLength, maxLength and pattern are", at)
	}
	return err
}

// Check checks a JSON document. The error names the first places that are
// wrong, on one line, as config.blocked[3].
func (s *Schema) Check(doc json.RawMessage) error {
	var v any
	d := json.NewDecoder(bytes.NewReader(doc))
	if err := d.Decode(&v); err != nil {
		return fmt.Errorf("the configuration is not understood: %s", oneLine(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("the configuration must be one JSON object, and more follows")
	}
	c := checker{}
	c.check(s, v, "config")
	if len(c.problems) == 0 {
		return nil
	}
	more := ""
	if c.more {
		more = "; and more"
	}
	return fmt.Errorf("the configuration is not what the plugin takes: %s%s", strings.Join(c.problems, "; "), more)
}

// checker walks a document beside its schema, so that it goes no deeper than
// the schema does.
type checker struct {
	problems []string
	more     bool
}

func (c *checker) problem(at, format string, args ...any) {
	if len(c.problems) == maxProblems {
		c.more = true
		return
	}
	text := at + ": " + fmt.Sprintf(format, args...)
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "..."
	}
	c.problems = append(c.problems, hostapi.Printable(text))
}

func (c *checker) check(s *Schema, v any, at string) {
	if c.more {
		return
	}
	if s.never {
		c.problem(at, "it is not known")
		return
	}
	if len(s.types) > 0 && !slices.ContainsFunc(s.types, func(t string) bool { return isType(v, t) }) {
		c.problem(at, "it is %s, and must be %s", typeOf(v), strings.Join(s.types, " or "))
		return
	}
	if s.enum != nil && !slices.ContainsFunc(s.enum, func(e any) bool { return reflect.DeepEqual(e, v) }) {
		allowed, _ := json.Marshal(s.enum)
		c.problem(at, "it must be one of %.200s", allowed)
	}
	switch v := v.(type) {
	case float64:
		if s.minimum != nil && v < *s.minimum {
			c.problem(at, "%v is less than %v", v, *s.minimum)
		}
		if s.maximum != nil && v > *s.maximum {
			c.problem(at, "%v is more than %v", v, *s.maximum)
		}
	case string:
		n := utf8.RuneCountInString(v)
		if s.minLength != nil && n < *s.minLength {
			c.problem(at, "%d characters are fewer than %d", n, *s.minLength)
		}
		if s.maxLength != nil && n > *s.maxLength {
			c.problem(at, "%d characters are more than %d", n, *s.maxLength)
		}
		if s.pattern != nil && !s.pattern.MatchString(v) {
			c.problem(at, "%.60q does not match %.100q", v, s.pattern)
		}
	case []any:
		for i := 0; s.items != nil && i < len(v) && !c.more; i++ {
			c.check(s.items, v[i], at+"["+strconv.Itoa(i)+"]")
		}
	case map[string]any:
		c.object(s, v, at)
	}
}

func (c *checker) object(s *Schema, v map[string]any, at string) {
	for _, name := range s.required {
		if _, ok := v[name]; !ok {
			c.problem(at, "%.60q is missing", name)
		}
	}
	names := make([]string, 0, len(v))
	for name := range v {
		names = append(names, name)
	}
	slices.Sort(names) // the same words each time
	for _, name := range names {
		below, known := s.properties[name]
		if !known {
			below = s.additional
		}
		if below != nil {
			if len(name) > 60 {
				name = name[:60]
			}
			c.check(below, v[name], at+"."+name)
		}
	}
}

func isType(v any, t string) bool {
	if f, ok := v.(float64); ok {
		return t == "number" || t == "integer" && f == math.Trunc(f)
	}
	return typeOf(v) == t
}

func typeOf(v any) string {
	switch v.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "boolean"
	}
	return "null"
}
