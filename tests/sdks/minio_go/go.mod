module sdks/minio_go

go 1.26

require github.com/minio/minio-go/v7 v7.4.1
