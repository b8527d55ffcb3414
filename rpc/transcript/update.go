package transcript

// adopt makes a live message the recorded one. Its ids that were not met before
// take the tokens of those that they replace, in order, so that the rest of the
// file still refers to them.
func (r *replay) adopt(index int, e Entry) {
	free := map[string][]piece{}
	rewriteInOrder(r.t.Entries[index].Body, func(_ string, v any) any {
		for _, p := range pattern(v) {
			if _, bound := r.names.live[p.token()]; numbered(p.kind) && !bound {
				free[p.kind] = append(free[p.kind], p)
			}
		}
		return v
	})
	for i := range r.t.Entries { // numbers that the file uses are not given to others
		rewriteInOrder(r.t.Entries[i].Body, func(_ string, v any) any {
			for _, p := range pattern(v) {
				r.names.last[p.kind] = max(r.names.last[p.kind], p.index)
			}
			return v
		})
	}
	rewriteInOrder(e.Body, func(key string, v any) any {
		for _, p := range r.lexer.scalar(key, v) {
			_, known := r.names.named[p.kind+" "+p.value]
			for !known && len(free[p.kind]) > 0 {
				token := free[p.kind][0]
				free[p.kind] = free[p.kind][1:]
				if _, bound := r.names.live[token.token()]; !bound {
					r.names.bind(token.kind, token.index, p.value)
					known = true
				}
			}
		}
		return v
	})
	was := &r.t.Entries[index]
	was.Kind, was.Body = e.Kind, r.names.tokenize(r.lexer, e.Body)
}
