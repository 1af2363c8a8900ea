package template

// Render fills in vars. The result is a function of the template and vars alone.
func (t *Template) Render(vars map[string]any) (string, error) {
	out, err := t.liquid.RenderString(vars)
	if err != nil {
		return "", err //nolint:wrapcheck // replaced
	}
	return out, nil
}

// Names are the names that the template uses from outside, in order.
func (t *Template) Names() []Var { return t.vars }
