//go:build !linux

package embedded

func beNice() {}
