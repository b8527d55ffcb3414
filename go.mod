module github.com/opencode-sidecar/opencode-sidecar

go 1.26
