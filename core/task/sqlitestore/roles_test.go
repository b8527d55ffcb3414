package sqlitestore

func roles() map[string]func(string) error { return nil }
