package agent

import "github.com/bollwerk/bollwerk/sensor"

type enforcer interface {
	Apply(*sensor.Policy) error
	Remove(uint64) error
	Release() (int, error)
	Means(string) string
}

type nothing struct{}

func (nothing) Apply(*sensor.Policy) error { return nil }
func (nothing) Remove(uint64) error        { return nil }
func (nothing) Release() (int, error)      { return 0, nil }
func (nothing) Means(string) string        { return "" }

func (a *Agent) enforcer() enforcer {
	if e, ok := any(a.sensor).(enforcer); ok {
		return e
	}
	return nothing{}
}
