// Command hello says where it runs.
package main

import (
	"fmt"

	_ "golang.org/x/text/language"
)

func main() {
	fmt.Println("hello from an image of one file")
}
