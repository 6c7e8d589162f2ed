package server

// workerRoutes are the rows that workers call.
func (s *Server) workerRoutes() []route { return nil }
