package groovy

// Walk calls fn for each node of a script, parents before what is inside
// them, in the order of the text. When fn returns false, what is inside the
// node is left out.
func Walk(s *Script, fn func(Node) bool) {
	for _, stmt := range s.Stmts {
		WalkNode(stmt, fn)
	}
}

// WalkNode is [Walk] for a node and what is inside it.
func WalkNode(n Node, fn func(Node) bool) {
	w := walker(fn)
	switch n := n.(type) {
	case Stmt:
		w.stmt(n)
	case Expr:
		w.expr(n)
	}
}

type walker func(Node) bool

func (w walker) exprs(list []Expr) {
	for _, x := range list {
		w.expr(x)
	}
}

func (w walker) stmts(list []Stmt) {
	for _, s := range list {
		w.stmt(s)
	}
}

func (w walker) block(b *Block) {
	if b != nil {
		w.stmt(b)
	}
}

func (w walker) args(named *MapExpr, args []Expr) {
	if named != nil {
		w.expr(named)
	}
	w.exprs(args)
}

func (w walker) params(list []*Param) {
	for _, p := range list {
		w.expr(p.Default)
	}
}

func (w walker) expr(x Expr) {
	if x == nil || !w(x) {
		return
	}
	switch x := x.(type) {
	case *GStringExpr:
		w.exprs(x.Holes)
	case *ListExpr:
		w.exprs(x.Items)
	case *MapExpr:
		for _, e := range x.Entries {
			w.expr(e.Key)
			w.expr(e.Value)
		}
	case *RangeExpr:
		w.expr(x.From)
		w.expr(x.To)
	case *PropertyExpr:
		w.expr(x.X)
		w.expr(x.Dynamic)
	case *IndexExpr:
		w.expr(x.X)
		w.exprs(x.Args)
	case *CallExpr:
		w.expr(x.X)
		w.expr(x.Callee)
		w.expr(x.Dynamic)
		w.args(x.Named, x.Args)
	case *NewExpr:
		w.args(x.Named, x.Args)
		w.exprs(x.Dims)
		if x.Body != nil {
			w.stmt(x.Body)
		}
	case *UnaryExpr:
		w.expr(x.X)
	case *StepExpr:
		w.expr(x.X)
	case *BinaryExpr:
		w.expr(x.X)
		w.expr(x.Y)
	case *AssignExpr:
		w.expr(x.Target)
		w.expr(x.Value)
	case *TupleExpr:
		w.exprs(x.Items)
	case *TernaryExpr:
		w.expr(x.Cond)
		w.expr(x.Then)
		w.expr(x.Else)
	case *CastExpr:
		w.expr(x.X)
	case *InstanceOfExpr:
		w.expr(x.X)
	case *ClosureExpr:
		w.params(x.Params)
		w.block(x.Body)
	case *MethodPointerExpr:
		w.expr(x.X)
	case *SpreadExpr:
		w.expr(x.X)
	}
}

func (w walker) stmt(s Stmt) {
	if s == nil || !w(s) {
		return
	}
	switch s := s.(type) {
	case *ExprStmt:
		w.expr(s.X)
	case *VarDecl:
		for _, v := range s.Vars {
			w.expr(v.Init)
		}
	case *Block:
		w.stmts(s.Stmts)
	case *IfStmt:
		w.expr(s.Cond)
		w.stmt(s.Then)
		w.stmt(s.Else)
	case *WhileStmt:
		w.expr(s.Cond)
		w.stmt(s.Body)
	case *ForStmt:
		w.stmts(s.Init)
		w.expr(s.Cond)
		w.exprs(s.Post)
		w.stmt(s.Body)
	case *ForInStmt:
		w.expr(s.X)
		w.stmt(s.Body)
	case *SwitchStmt:
		w.expr(s.X)
		for _, c := range s.Cases {
			w.expr(c.Match)
			w.stmts(c.Body)
		}
	case *TryStmt:
		w.stmts(s.Resources)
		w.block(s.Body)
		for _, c := range s.Catches {
			w.block(c.Body)
		}
		w.block(s.Finally)
	case *ThrowStmt:
		w.expr(s.X)
	case *ReturnStmt:
		w.expr(s.X)
	case *LabeledStmt:
		w.stmt(s.Body)
	case *AssertStmt:
		w.expr(s.Cond)
		w.expr(s.Message)
	case *MethodDecl:
		w.params(s.Params)
		w.block(s.Body)
	case *ClassDecl:
		w.class(s)
	}
}

func (w walker) class(d *ClassDecl) {
	for _, c := range d.Constants {
		w.args(c.Named, c.Args)
		if c.Body != nil {
			w.stmt(c.Body)
		}
	}
	for _, f := range d.Fields {
		w.stmt(f)
	}
	for _, b := range d.StaticInit {
		w.stmt(b)
	}
	for _, b := range d.Init {
		w.stmt(b)
	}
	for _, m := range d.Methods {
		w.stmt(m)
	}
	for _, c := range d.Classes {
		w.stmt(c)
	}
}
