def lint(): pass
