package groovy

// Span is where a node stands in its file: byte offsets, End excluded.
// [Script.Position] turns an offset into line and column.
type Span struct{ Start, End int }

// At is the span itself; nodes embed Span and so are [Node]s.
func (s Span) At() Span { return s }

// Node is any part of a parsed file.
type Node interface{ At() Span }

// Expr is a node that has a value.
type Expr interface {
	Node
	expr()
}

// Stmt is a node that is executed. Every *ExprStmt holds an expression.
type Stmt interface {
	Node
	stmt()
}

// Quote is how a string was written.
type Quote byte

// The kinds of strings.
const (
	NotQuoted    Quote = iota // a map key or named argument written as a bare name
	Single                    // '…'
	Double                    // "…"
	TripleSingle              // '''…'''
	TripleDouble              // """…"""
	Slashy                    // /…/
	DollarSlashy              // $/…/$
)

// Expressions.
type (
	// Literal is null, a boolean, a number, or a string without holes, as the
	// [Value] it stands for.
	Literal struct {
		Span
		Value Value
		Quote Quote // of a string
	}

	// GStringExpr is a string with holes. There is one string more than there
	// are holes: Strings[0], Holes[0], Strings[1] … A hole written ${-> x} is
	// a *ClosureExpr, evaluated each time the text is asked for.
	GStringExpr struct {
		Span
		Strings []string
		Holes   []Expr
		Quote   Quote
	}

	// Ident is a name that stands alone; also this and super.
	Ident struct {
		Span
		Name string
	}

	// ListExpr is [a, b, *c].
	ListExpr struct {
		Span
		Items []Expr
	}

	// MapExpr is [a: 1, (b): 2, *: c] and, inside a Call, its named arguments.
	MapExpr struct {
		Span
		Entries []*MapEntry
	}

	// MapEntry is one entry. The key is a *Literal where a name or a string
	// was written. Key is nil for a spread map (*: Value).
	MapEntry struct {
		Span
		Key   Expr
		Value Expr
	}

	// RangeExpr is From..To, or From..<To when Exclusive.
	RangeExpr struct {
		Span
		From, To  Expr
		Exclusive bool
	}

	// PropertyExpr is X.Name. The name is in Name when it is plain, and in
	// Dynamic when it is a GString or an expression in parentheses.
	PropertyExpr struct {
		Span
		X       Expr
		Name    string
		Dynamic Expr
		Safe    bool // ?.
		Spread  bool // *.
		Direct  bool // .@
	}

	// IndexExpr is X[Args].
	IndexExpr struct {
		Span
		X    Expr
		Args []Expr
	}

	// CallExpr is a call in any of its forms: foo(1), foo 1, x.foo(a: 1) {},
	// closure(1). Exactly one of Name, Dynamic and Callee says what is called:
	//
	//   - Name with X nil: a name that stands alone;
	//   - Name with X: a method of X; "name"(…) is one of this;
	//   - Dynamic with X: a method whose name is computed;
	//   - Callee: the value of an expression is called.
	//
	// Closures behind the parentheses are the last of Args. Named arguments
	// are in Named, wherever they stood between the others.
	CallExpr struct {
		Span
		X       Expr
		Name    string
		NameAt  Span // of the name alone
		Dynamic Expr
		Callee  Expr
		Safe    bool
		Spread  bool
		Parens  bool // parentheses were written
		Named   *MapExpr
		Args    []Expr
	}

	// NewExpr is new Type(args), an anonymous class when Body is set, or an
	// array when Array is: new int[3] has Dims, new int[]{1, 2} has Args.
	NewExpr struct {
		Span
		Type  *TypeRef
		Named *MapExpr
		Args  []Expr
		Body  *ClassDecl
		Array bool
		Dims  []Expr
	}

	// UnaryExpr is ! - + ~ before X.
	UnaryExpr struct {
		Span
		Op string
		X  Expr
	}

	// StepExpr is ++ or -- before or after X.
	StepExpr struct {
		Span
		Op     string
		X      Expr
		Prefix bool
	}

	// BinaryExpr is X Op Y for every operator that has no node of its own,
	// including in, !in, =~ and ==~.
	BinaryExpr struct {
		Span
		Op   string
		X, Y Expr
	}

	// AssignExpr is Target Op Value, with Op = or += and the like. A *TupleExpr
	// as Target is a multiple assignment.
	AssignExpr struct {
		Span
		Op     string
		Target Expr
		Value  Expr
	}

	// TupleExpr is the left side of (a, b) = list.
	TupleExpr struct {
		Span
		Items []Expr
	}

	// TernaryExpr is Cond ? Then : Else; Then is nil for Cond ?: Else.
	TernaryExpr struct {
		Span
		Cond, Then, Else Expr
	}

	// CastExpr is (Type) X, or X as Type when As.
	CastExpr struct {
		Span
		Type *TypeRef
		X    Expr
		As   bool
	}

	// InstanceOfExpr is X instanceof Type, or !instanceof when Not.
	InstanceOfExpr struct {
		Span
		X    Expr
		Type *TypeRef
		Not  bool
	}

	// ClosureExpr is { params -> body }. Its span has the braces.
	ClosureExpr struct {
		Span
		Params []*Param
		Arrow  bool // an arrow was written; without it there is the parameter it
		Body   *Block
	}

	// MethodPointerExpr is X.&Name or X::Name.
	MethodPointerExpr struct {
		Span
		X    Expr
		Name string
	}

	// SpreadExpr is *X in a list or in arguments.
	SpreadExpr struct {
		Span
		X Expr
	}

	// ClassExpr is a type where a value is wanted, such as int.class or
	// String[].
	ClassExpr struct {
		Span
		Type *TypeRef
	}
)

// Statements.
type (
	// ExprStmt is an expression as a statement.
	ExprStmt struct {
		Span
		X Expr
	}

	// VarDecl declares one or more variables. With Tuple they share the one
	// Init of the first: def (a, b) = list.
	VarDecl struct {
		Span
		Modifiers
		Type  *TypeRef // nil for def
		Vars  []*Var
		Tuple bool
	}

	// Var is one declared variable.
	Var struct {
		Span
		Name string
		Type *TypeRef
		Init Expr // nil when there is none
	}

	// Block is { statements }, or the body of a closure or script.
	Block struct {
		Span
		Stmts []Stmt

		declares bool // a variable, so that it needs a scope
	}

	// IfStmt is if (Cond) Then else Else.
	IfStmt struct {
		Span
		Cond       Expr
		Then, Else Stmt
	}

	// WhileStmt is while (Cond) Body, or do Body while (Cond) when Do.
	WhileStmt struct {
		Span
		Cond Expr
		Body Stmt
		Do   bool
	}

	// ForStmt is for (Init; Cond; Post) Body.
	ForStmt struct {
		Span
		Init []Stmt
		Cond Expr
		Post []Expr
		Body Stmt
	}

	// ForInStmt is for (Var in X) Body.
	ForInStmt struct {
		Span
		Var  *Var
		X    Expr
		Body Stmt
	}

	// SwitchStmt is switch (X) { … }.
	SwitchStmt struct {
		Span
		X     Expr
		Cases []*Case
	}

	// Case is one case; Match is nil for default.
	Case struct {
		Span
		Match Expr
		Body  []Stmt
	}

	// TryStmt is try, catch, finally.
	TryStmt struct {
		Span
		Resources []Stmt
		Body      *Block
		Catches   []*Catch
		Finally   *Block
	}

	// Catch is one catch. No Types means Exception.
	Catch struct {
		Span
		Types []*TypeRef
		Name  string
		Body  *Block
	}

	// ThrowStmt is throw X.
	ThrowStmt struct {
		Span
		X Expr
	}

	// ReturnStmt is return X; X may be nil.
	ReturnStmt struct {
		Span
		X Expr
	}

	// BreakStmt is break Label.
	BreakStmt struct {
		Span
		Label string
	}

	// ContinueStmt is continue Label.
	ContinueStmt struct {
		Span
		Label string
	}

	// LabeledStmt is Label: Body.
	LabeledStmt struct {
		Span
		Label string
		Body  Stmt
	}

	// AssertStmt is assert Cond : Message.
	AssertStmt struct {
		Span
		Cond    Expr
		Message Expr
	}

	// EmptyStmt is a lone semicolon, or an annotation that annotates nothing.
	EmptyStmt struct{ Span }

	// MethodDecl is a method of a script or of a class. A constructor has the
	// name of its class. Body is nil for an abstract method.
	MethodDecl struct {
		Span
		Modifiers
		Type        *TypeRef // nil for def
		Name        string
		NameAt      Span
		Params      []*Param
		Body        *Block
		Constructor bool
	}

	// ClassDecl is a class, interface, enum, trait or annotation type.
	ClassDecl struct {
		Span
		Modifiers
		Kind       string // class, interface, enum, trait, @interface
		Name       string
		NameAt     Span
		Super      *TypeRef
		Interfaces []*TypeRef
		Fields     []*VarDecl
		Methods    []*MethodDecl
		Classes    []*ClassDecl
		Constants  []*EnumConstant
		Init       []*Block // instance initialisers
		StaticInit []*Block
	}

	// EnumConstant is one constant of an enum.
	EnumConstant struct {
		Span
		Name  string
		Named *MapExpr
		Args  []Expr
		Body  *ClassDecl
	}

	// ImportStmt is an import. Name has dots; Member is what a static import
	// takes of it, "*" for everything.
	ImportStmt struct {
		Span
		Modifiers
		Name   string
		Alias  string
		Static bool
		Star   bool
		Member string
	}

	// PackageStmt is package Name.
	PackageStmt struct {
		Span
		Name string
	}
)

// Param is a parameter of a closure or method.
type Param struct {
	Span
	Type     *TypeRef // nil when none was written
	Name     string
	Default  Expr
	Variadic bool // written with …, or an array in the last place
}

// TypeRef is a type as it was written.
type TypeRef struct {
	Span
	Name string // with dots when written so, without type arguments
	Args []*TypeRef
	Dims int // of an array
}

// Modifiers are what stands before a declaration.
type Modifiers struct {
	Annotations []*Annotation
	Words       []string // static, final, private …
}

// Annotation is @Name(args).
type Annotation struct {
	Span
	Name  string
	Named *MapExpr
	Arg   Expr
}

// Has reports whether the word or the annotation is there.
func (m *Modifiers) Has(name string) bool {
	for _, w := range m.Words {
		if w == name {
			return true
		}
	}
	for _, a := range m.Annotations {
		if a.Name == name || lastPart(a.Name) == name {
			return true
		}
	}
	return false
}

func (*Literal) expr()           {}
func (*GStringExpr) expr()       {}
func (*Ident) expr()             {}
func (*ListExpr) expr()          {}
func (*MapExpr) expr()           {}
func (*RangeExpr) expr()         {}
func (*PropertyExpr) expr()      {}
func (*IndexExpr) expr()         {}
func (*CallExpr) expr()          {}
func (*NewExpr) expr()           {}
func (*UnaryExpr) expr()         {}
func (*StepExpr) expr()          {}
func (*BinaryExpr) expr()        {}
func (*AssignExpr) expr()        {}
func (*TupleExpr) expr()         {}
func (*TernaryExpr) expr()       {}
func (*CastExpr) expr()          {}
func (*InstanceOfExpr) expr()    {}
func (*ClosureExpr) expr()       {}
func (*MethodPointerExpr) expr() {}
func (*SpreadExpr) expr()        {}
func (*ClassExpr) expr()         {}

func (*ExprStmt) stmt()     {}
func (*VarDecl) stmt()      {}
func (*Block) stmt()        {}
func (*IfStmt) stmt()       {}
func (*WhileStmt) stmt()    {}
func (*ForStmt) stmt()      {}
func (*ForInStmt) stmt()    {}
func (*SwitchStmt) stmt()   {}
func (*TryStmt) stmt()      {}
func (*ThrowStmt) stmt()    {}
func (*ReturnStmt) stmt()   {}
func (*BreakStmt) stmt()    {}
func (*ContinueStmt) stmt() {}
func (*LabeledStmt) stmt()  {}
func (*AssertStmt) stmt()   {}
func (*EmptyStmt) stmt()    {}
func (*MethodDecl) stmt()   {}
func (*ClassDecl) stmt()    {}
func (*ImportStmt) stmt()   {}
func (*PackageStmt) stmt()  {}
