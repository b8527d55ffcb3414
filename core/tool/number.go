package tool

import (
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
)

// numberLiteral returns the number that v is, or that v spells exactly as JSON
// would.
func numberLiteral(v any) (json.Number, bool) {
	switch v := v.(type) {
	case json.Number:
		return v, true
	case string:
		// Valid JSON that begins and ends like a number is a number without
		// white space around it.
		if v == "" || strings.Trim(v[:1], "-0123456789") != "" || strings.Trim(v[len(v)-1:], "0123456789") != "" {
			return "", false
		}
		if !json.Valid([]byte(v)) {
			return "", false
		}
		return json.Number(v), true
	}
	return "", false
}

// whole returns the literal as a plain whole number of at most 64 bits. `10.0`
// and `1e1` are whole numbers to JSON Schema, but not to encoding/json.
func whole(literal json.Number) (json.Number, bool) {
	if i, err := strconv.ParseInt(string(literal), 10, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10)), true
	}
	// Exact arithmetic, so bounded before it starts: 1e999999999 is ten bytes.
	const maxLiteral, maxExponent = 64, 30
	if len(literal) > maxLiteral {
		return "", false
	}
	if _, exponent, ok := strings.Cut(strings.ToLower(string(literal)), "e"); ok {
		if e, err := strconv.Atoi(exponent); err != nil || e > maxExponent || e < -maxExponent {
			return "", false
		}
	}
	exact, ok := new(big.Rat).SetString(string(literal))
	if !ok || !exact.IsInt() || !exact.Num().IsInt64() {
		return "", false
	}
	return json.Number(exact.Num().String()), true
}
