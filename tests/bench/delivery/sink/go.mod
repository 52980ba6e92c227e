module elink.test/sink

go 1.24
