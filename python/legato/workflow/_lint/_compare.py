class Gap: pass
