// Package e2etest drives a whole nudge as its users do: over HTTP from outside, with the SDKs that
// apps use, against push services on this machine, and by changing files and stopping it. It holds
// tests alone.
package e2etest
