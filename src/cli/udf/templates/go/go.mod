module udf

go 1.24
